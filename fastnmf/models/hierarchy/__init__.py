"""Hierarchies of topics."""
