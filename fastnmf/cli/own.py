"""Penalties of the user on the command line: classes or objects of a Python file that an option names."""

import runpy
import sys

from fastnmf.cli.parser import proposal

METHODS = ("value", "half_gradient")


def penalties_of(paths):
    """Return what `penalties` of an estimator takes.

    Parameters
    ----------
    paths : list of (str, Path, str)
        As `fastnmf.cli.parser.penalties` returns them. Each file is run once, and a class is called without arguments.

    Returns
    -------
    dict of str to list

    Raises
    ------
    ValueError
        A file fails, lacks the name, or has no penalty under it.
    FileNotFoundError
        There is no such file.
    """
    contents, found = {}, {}
    for factor, path, name in paths:
        if path not in contents:
            contents[path] = _contents(path)
        known = [each for each in contents[path] if not each.startswith("_")]
        if name not in contents[path]:
            hint = proposal(name, known) or f"; its names are {', '.join(known)}."
            raise ValueError(f"{path} has no {name!r}{hint}")
        penalty = contents[path][name]
        if isinstance(penalty, type):
            try:
                penalty = penalty()
            except Exception as error:
                raise ValueError(
                    f"{name} of {path} cannot be created without arguments ({type(error).__name__}: {error}); give its "
                    "parameters default values, or name an object."
                ) from error
        if lacking := [method for method in METHODS if not callable(getattr(penalty, method, None))]:
            raise ValueError(
                f"{name} of {path} is not a penalty: it has no method {lacking[0]}; a penalty has value(F) and "
                "half_gradient(F)."
            )
        found.setdefault(factor, []).append(penalty)
    return found


def _contents(path):
    """Return the names of a Python file, which may import what lies beside it."""
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(str(path), run_name=path.stem)
    except Exception as error:
        raise ValueError(f"{path} cannot be run ({type(error).__name__}: {error}).") from error
    finally:
        sys.path.remove(folder)
