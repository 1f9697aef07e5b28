"""Provide the compiled loops. A kernel file imports numba, numpy and the shared kernel files, and no other."""
