"""Draw the figures of the pages: each shows what the code above it draws.

An image whose path begins with ``_gallery/`` is the figure that was drawn last by the Python blocks above it.
`make docs` calls `draw`; to draw the figures of one page into a folder::

    python docs/gallery.py docs/gallery.md FOLDER
"""

import contextlib
import io
import os
import re
import sys
import tempfile
import types
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))
from pages import blocks  # noqa: E402 (how the tests find the blocks of a page)

IMAGE = re.compile(r"!\[[^\]]+\]\(_gallery/([\w-]+\.png)\)")


def images(text):
    """Return (name, line) of each figure that a page has drawn."""
    return [(found[1], text.count("\n", 0, found.start()) + 1) for found in IMAGE.finditer(text)]


def draw(path, folder):
    """Run the blocks of a page, and write its figures.

    Parameters
    ----------
    path : Path
        The page.
    folder : Path
        Where the figures go. What the code itself writes goes to a temporary folder.

    Returns
    -------
    list of str
        Names of the figures.

    Raises
    ------
    ValueError
        If nothing is drawn between two images.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    text = path.read_text(encoding="utf-8")
    parts, page = blocks(text), types.ModuleType(path.stem.replace("-", "_"))
    folder, here = folder.resolve(), Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    silent = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as own, warnings.catch_warnings(), silent:
        warnings.simplefilter("ignore")
        os.chdir(own)
        try:
            for name, end in images(text):
                while parts and parts[0][2] < end:
                    source, _, line = parts.pop(0)
                    exec(compile("\n" * (line - 1) + source, str(path), "exec"), vars(page))
                if not pyplot.get_fignums():
                    raise ValueError(f"{path.name}:{end} shows {name}, and no code above it has drawn it.")
                pyplot.gcf().savefig(folder / name, dpi=110)
                pyplot.close("all")
        finally:
            os.chdir(here)
    return [name for name, _ in images(text)]


if __name__ == "__main__":
    print(*draw(Path(sys.argv[1]), Path(sys.argv[2])), sep="\n")
