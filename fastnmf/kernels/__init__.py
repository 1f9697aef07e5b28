"""Compiled loops. Files in here import numba, numpy, `jit` and `simd`, and never each other."""
