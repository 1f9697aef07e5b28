"""Validate the user's data and turn them into checked CSR or dense arrays, with labels, weights and graphs."""
