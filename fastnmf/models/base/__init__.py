"""Base classes of the estimators: parameters, the fit, fitted state, inspection of a fitted model."""
