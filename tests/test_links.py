"""Links between the pages lead somewhere; commands that the pages show are understood; figures are drawn."""

import re
import shlex
import sys

import pytest
from pages import ROOT, blocks

from fastnmf.cli import commands
from fastnmf.cli.parser import Parser

sys.path.insert(0, str(ROOT / "docs"))
import gallery  # noqa: E402 (what draws the figures of the pages)

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
INCLUDED = re.compile(r"```\{include\} (\S+)\n")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# a link or an image, its text in one or several lines; the address has no colon where it is a file of ours
LINK = re.compile(r"\[[^\]]*\]\(([^)\s:]+)\)")
SHELL = re.compile(r"^```(?:sh|text|bash)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text_of(path):
    """Return a page, with what it includes."""
    text = path.read_text(encoding="utf-8")
    return INCLUDED.sub(lambda found: f"\n```\n{text_of(path.parent / found[1])}\n```{{", text)


def anchors(text):
    """Return the anchors of the headings of a page, as GitHub and the pages that Sphinx builds name them."""
    found = re.findall(r"^#{1,6} (.+)$", CODE.sub("", text), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in found]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def broken_links(path, text):
    """Return the links of a page that lead to no file, or to no heading of one."""
    broken = []
    for address in LINK.findall(CODE.sub("", text)):
        name, _, anchor = address.partition("#")
        target = (path.parent / name).resolve() if name else path
        if name.startswith("_gallery/"):
            continue  # drawn, see below
        if not target.exists() or anchor and anchor not in anchors(text if target == path else text_of(target)):
            broken.append(address)
    return broken


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_noticed(tmp_path):
    (tmp_path / "b.md").write_text("# What is `X`?\n\n```\n# code\n```\n")
    text = "# A a\n[1](b.md) [2](b.md#what-is-x) [3](#a-a) [4](ftp://x)\n[5\n](c.md) [6](b.md#code) ![7](c.png) [8](#b)"
    (tmp_path / "a.md").write_text(text)
    assert broken_links(tmp_path / "a.md", text) == ["c.md", "b.md#code", "c.png", "#b"]


def linked_from(pages):
    """Return the names of the pages that some pages link to."""
    texts = (CODE.sub("", (ROOT / "docs" / name).read_text(encoding="utf-8")) for name in pages)
    return {address.partition("#")[0] for text in texts for address in LINK.findall(text)}


def test_every_page_is_two_clicks_from_the_first_at_most():
    names = {path.name for path in PAGES[2:]} - {"index.md"}
    near = linked_from(["index.md"]) & names
    assert names - near - linked_from(near) == set()
    assert {"quick-start.md", "questions.md", "models.md", "shifts.md", "rank.md", "gallery.md", "api.md"} <= near


def test_the_contents_have_every_page_once():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^([\w-]+)$", "\n".join(re.findall(r"caption: \w+\n(.*?)```", index, re.DOTALL)), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in PAGES[2:] if path.stem != "index")


def lines_of_shell():
    """Return (page, line) of each command of ours that a page shows."""
    found = []
    for path in PAGES:
        for block in SHELL.findall(path.read_text(encoding="utf-8")):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(path.name, line) for line in lines if line.startswith("fastnmf ")]
    return found


@pytest.fixture(scope="module")
def parse():
    """Give a function that parses a command, and raises ValueError where it is not understood."""
    patch = pytest.MonkeyPatch()

    def refuse(self, message):
        raise ValueError(f"{self.prog}: {message}")

    patch.setattr(Parser, "error", refuse)
    yield lambda line: commands._arguments(shlex.split(line, comments=True)[1:])
    patch.undo()


def test_commands_on_the_pages_are_understood(parse):
    lines = lines_of_shell()
    assert len(lines) > 25
    for page, line in lines:
        try:
            assert callable(parse(line).run)
        except ValueError as error:
            pytest.fail(f"{page}: {line}\n{error}")


def test_a_wrong_command_is_noticed(parse):
    for line in ("fastnmf fits x.csv -o m.npz", "fastnmf top m.npz --bie lift", "fastnmf report -o r.html"):
        with pytest.raises(ValueError, match=r"invalid choice|unrecognized|required"):
            parse(line)


def test_the_page_of_the_command_line_has_all_commands(parse, capsys):
    with pytest.raises(SystemExit):
        parse("fastnmf --help")
    known = set(re.findall(r"^    ([a-z][\w-]+)(?:  | *$)", capsys.readouterr().out, flags=re.MULTILINE))
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert known == set(re.findall(r"^\| \[`([\w-]+)`\]", page, flags=re.MULTILINE))
    assert known == {line.split()[1] for name, line in lines_of_shell() if name == "command-line.md"}


@pytest.mark.parametrize(
    "path", [path for path in PAGES if gallery.images(path.read_text("utf-8"))], ids=lambda p: p.stem
)
def test_each_figure_of_a_page_has_its_code(path):
    text, begin = path.read_text(encoding="utf-8"), 0
    names = [name for name, _ in gallery.images(text)]
    assert len(names) == len(set(names))
    for name, end in gallery.images(text):
        assert any("plots." in source for source, _, line in blocks(text) if begin < line < end), name
        begin = end


def test_a_figure_is_drawn_by_the_code_above_it(tmp_path):
    page = tmp_path / "page.md"
    block = "```python\nfrom matplotlib import pyplot as plt\n\nax = plt.figure().add_subplot()\n```\n"
    page.write_text(f"{block}\n![An empty figure](_gallery/empty.png)\n")
    assert gallery.draw(page, tmp_path / "drawn") == ["empty.png"]
    assert (tmp_path / "drawn" / "empty.png").read_bytes()[1:4] == b"PNG"
    page.write_text("```python\nx = 1\n```\n\n![Nothing](_gallery/nothing.png)\n")
    with pytest.raises(ValueError, match=r"page\.md:5 shows nothing\.png, and no code above it has drawn it"):
        gallery.draw(page, tmp_path / "drawn")
