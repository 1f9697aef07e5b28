"""Meta-NMF: components that are learned on many small tasks."""
