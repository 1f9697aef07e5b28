"""Issue warnings that point at the user's line."""

import sys
import warnings

_PASSED_OVER = ("fastnmf.", "numba.", "sklearn.", "joblib.", "importlib.", "contextlib.", "functools.")


def warn(message, category=UserWarning):
    """Warn at the innermost frame outside this package and outside the libraries in `_PASSED_OVER`."""
    level, frame = 2, sys._getframe(1)
    while frame is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(_PASSED_OVER):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
