"""Configuration of Sphinx for the pages that `make docs` builds."""

import sys
from pathlib import Path

import fastnmf

DOCS = Path(__file__).resolve().parent
sys.path.append(str(DOCS))
import gallery  # noqa: E402 (what draws the figures of the pages)

project = "fastnmf"
author = "fastnmf developers"
release = fastnmf.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"fastnmf {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_copyright = False
highlight_language = "none"  # outputs are no code; blocks of code say that they are Python
myst_heading_anchors = 3  # links to sections by their headings

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings have the types, with shapes
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
default_role = "py:obj"  # `NMF` in a docstring is a link
nitpicky = True
nitpick_ignore_regex = [
    # Parameters, attributes and symbols stand in backticks, too, and are explained where they stand.
    ("py:obj", r"[a-z]\w*|[A-Z]_?|DESCR|DOCSTRING_PACKAGES"),
    # Private modules, to which docstrings point those who read the code, and other packages.
    ("py:obj", r"fastnmf\.(core|data|kernels|io|models|selection)\..*|Compressed|Grouping"),
    ("py:(obj|class)", r"(numpy|scipy|sklearn)\..*|TfidfVectorizer"),
]


def is_elsewhere(app, what, name, obj, skip, options):
    """Leave out what classes inherit from Python and from scikit-learn, whose own pages describe it."""
    home = getattr(obj, "__objclass__", obj)
    home = getattr(home, "__module__", None) or type(obj).__module__
    return True if home.partition(".")[0] in ("sklearn", "builtins") and not isinstance(obj, property) else None


def link_by_name(app, env, node, contnode):
    """Link what a docstring names without its module: a public name, or a class of any module, as `FitState`."""
    domain, name = env.get_domain("py"), node["reftarget"]
    found = [f"fastnmf.{name}"] if f"fastnmf.{name}" in domain.objects else []
    if not found and name[:1].isupper():
        own = [full for full, entry in domain.objects.items() if not entry.aliased]
        found = [full for full in own if full.rpartition(".")[2] == name]
    if node.get("refdomain") != "py" or len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)


def draw_figures(app):
    """Draw the figures that the pages show."""
    for page in sorted(DOCS.glob("*.md")):
        if gallery.images(page.read_text(encoding="utf-8")):
            gallery.draw(page, DOCS / "_gallery")


def setup(app):
    """Register the functions above."""
    app.connect("builder-inited", draw_figures)
    app.connect("autodoc-skip-member", is_elsewhere)
    app.connect("missing-reference", link_by_name)
