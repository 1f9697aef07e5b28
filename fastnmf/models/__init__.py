"""The estimators: scikit-learn classes with parameters, documentation, fitted attributes and `_problem()`."""
