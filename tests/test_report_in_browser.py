"""The report as its reader meets it: in a browser without network."""

import csv

import browser
import numpy as np
import pytest

from fastnmf import NMF, StratifiedNMF, datasets, write_report

pytestmark = pytest.mark.skipif(browser.find() is None, reason=f"no browser: none of {', '.join(browser.NAMES)}")
NAMES = [f"word{j}" for j in range(40)]
BRIGHTNESS = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"


@pytest.fixture(scope="module")
def model_of_strata():
    bunch = datasets.make_stratified((30, 20, 25), 40, 3, density=0.4, random_state=0)
    labels = np.array(["red", "<script>document.title='gotcha'</script>", "blue"])[bunch.strata]
    return StratifiedNMF(3, random_state=0, max_iter=40, tol=0).fit(bunch.data, strata=labels), bunch


@pytest.fixture(scope="module")
def files(tmp_path_factory, model_of_strata):
    folder = tmp_path_factory.mktemp("pages")
    model, bunch = model_of_strata
    names = [*NAMES[:-1], '"><img src="http://example.org/x.png" onerror="document.title=1">']
    options = {"feature_names": names, "title": "<b>Strata</b>", "kind": "text"}
    write_report(model, folder / "strata.html", X=bunch.data, **options)
    write_report(NMF(3, random_state=0, max_iter=40, tol=0).fit(bunch.data), folder / "plain.html", feature_names=names)
    rows = {"site": np.arange(75) % 3, "year": 2000 + np.arange(75) % 5}
    crossed = StratifiedNMF(2, random_state=0, max_iter=10, tol=0).fit(bunch.data, strata=rows)
    write_report(crossed, folder / "crossed.html", X=bunch.data, strata=rows, feature_names=names, kind="text")
    return folder


@pytest.fixture(scope="module")
def page():
    with browser.opened(browser.find()) as page:
        yield page


@pytest.fixture
def strata(page, files):
    page.open((files / "strata.html").as_uri())
    return page


def shown(page, kind):
    script = f"[...document.querySelectorAll('[data-item={kind}]')].filter(c => c.offsetParent).map(c => c.id)"
    return page.ask(script)


@pytest.mark.parametrize("name", ["strata", "plain"])
@pytest.mark.parametrize("width", [2000, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_asks_for_nothing_and_fits(page, files, name, width, scheme):
    address = (files / f"{name}.html").as_uri()
    page.open(address, width=width, scheme=scheme)
    assert {asked for asked in page.requests if asked != "about:blank"} <= {path.as_uri() for path in files.iterdir()}
    assert page.complaints == [] and page.ask("document.title") != "gotcha"
    assert page.ask("document.documentElement.scrollWidth") <= width
    assert (np.mean(page.ask(BRIGHTNESS)) > 128) == (scheme == "light")
    assert page.ask("document.querySelectorAll('details.fold:not([open])').length > 0") == (width == 400)
    page.ask("document.getElementById('scheme').click()")
    assert (np.mean(page.ask(BRIGHTNESS)) > 128) == (scheme == "dark")
    assert page.ask("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width, scheme", [(2000, "light"), (400, "dark")])
def test_page_of_crossed_factors_asks_for_nothing_and_compares_levels(page, files, width, scheme):
    page.open((files / "crossed.html").as_uri(), width=width, scheme=scheme)
    assert {asked for asked in page.requests if asked != "about:blank"} <= {path.as_uri() for path in files.iterdir()}
    assert page.complaints == [] and page.ask("document.documentElement.scrollWidth") <= width
    groups = "[...document.querySelectorAll('#left optgroup')].map(g => [g.label, g.children.length])"
    assert page.ask(groups) == [["site", 3], ["year", 5]]
    assert page.ask("document.querySelector('#difference svg').getAttribute('aria-label')") == "0 against 1"
    stroke = "[...document.querySelectorAll('.factor polyline')].map(line => getComputedStyle(line).stroke)"
    assert len(set(page.ask(stroke))) == 5  # each line has a colour
    page.ask("location.hash = '#q=year%3D2003'")
    said = "document.getElementById('found').textContent"
    assert "1 of 9 shifts" in page.ask(f"new Promise(done => setTimeout(() => done({said}), 50))")


def test_keyboard_reaches_the_search_which_filters_everything(strata):
    assert len(shown(strata, "strata")) == len(shown(strata, "topics")) == 3
    strata.press("/")
    assert strata.ask("document.activeElement.id") == "q"
    strata.type("WORD11 blue")
    cards = strata.ask("[...document.querySelectorAll('[data-item]')].map(c => [c.id, c.textContent.toLowerCase()])")
    want = [name for name, text in cards if "word11" in text and "blue" in text]
    assert 0 < len(want) < 6
    assert shown(strata, "topics") + shown(strata, "strata") == want
    lines = strata.ask(
        "[...document.querySelectorAll('tr[data-of]')].filter(r => r.offsetParent).map(r => r.dataset.of)"
    )
    assert set(lines) == set(want)
    hits = strata.ask("[...document.querySelectorAll('.w.hit')].map(w => w.textContent)")
    slide = "(s => { s.value = 0; s.dispatchEvent(new Event('input', {bubbles: true})) })"
    strata.ask(f"{slide}(document.querySelector('.slider input'))")  # words that are written anew are marked again
    assert strata.ask("[...document.querySelectorAll('.w.hit')].map(w => w.textContent)") == hits
    assert hits and set(hits) == {"word11"}
    said = strata.ask("document.getElementById('found').textContent")
    n_strata = sum(name.startswith("stratum") for name in want)
    assert said == f"{len(want) - n_strata} of 3 topics, {n_strata} of 3 groups"
    assert strata.ask("location.hash") == "#q=WORD11%20blue"
    strata.press("Escape")
    assert len(shown(strata, "strata")) == len(shown(strata, "topics")) == 3
    assert strata.ask("document.getElementById('found').textContent") == ""


def test_tab_reaches_the_page_from_its_beginning(strata):
    reached = []
    for _ in range(14):
        strata.press("Tab")
        reached.append(strata.ask("(e => e.className || e.id || e.hash)(document.activeElement)"))
    assert reached[:3] == ["skip", "#overview", "#map"] and reached[7:11] == ["#diagnostics", "q", "scheme", "save"]


def test_search_in_the_address_and_one_that_finds_nothing(page, files):
    page.open((files / "strata.html").as_uri() + "#q=no%20such%20thing")
    assert shown(page, "strata") == shown(page, "topics") == []
    assert page.ask("document.getElementById('nothing').hidden") is False
    page.ask("document.getElementById('clear').click()")
    assert len(shown(page, "topics")) == 3 and page.ask("document.getElementById('nothing').hidden")


def test_a_link_to_a_hidden_card_brings_it_back(page, files):
    page.open((files / "strata.html").as_uri() + "#q=red")
    hidden = page.ask("[...document.querySelectorAll('[data-item]')].find(c => c.hidden).id")
    page.ask(
        f"new Promise(done => {{ addEventListener('hashchange', done); location.hash = '#{hidden}' }}).then(() => 1)"
    )
    assert page.ask(f"document.getElementById('{hidden}').hidden") is False


def test_tables_are_sorted_by_a_press(strata):
    table = "[...document.querySelectorAll('#strata table')][0]"
    column = f"[...{table}.tBodies[0].rows].map(r => r.cells[1].textContent)"
    press = f"{table}.tHead.rows[0].cells[1].querySelector('button').click()"
    order = f"{table}.tHead.rows[0].cells[1].getAttribute('aria-sort')"
    assert strata.ask(column) == ["20", "25", "30"]  # in the order of the labels
    strata.ask(press)
    assert strata.ask(column) == ["30", "25", "20"] and strata.ask(order) == "descending"
    strata.ask(press)
    assert strata.ask(column) == ["20", "25", "30"] and strata.ask(order) == "ascending"
    labels = f"[...{table}.tBodies[0].rows].map(r => r.cells[0].textContent)"
    strata.ask(f"{table}.tHead.rows[0].cells[0].querySelector('button').click()")
    assert [label[:3] for label in strata.ask(labels)] == ["<sc", "blu", "red"]
    assert strata.ask(order) is None
    heat = "document.querySelector('table.heat')"
    strata.ask(f"{heat}.tHead.rows[0].cells[2].querySelector('button').click()")
    shares = strata.ask(f"[...{heat}.tBodies[0].rows].map(r => Number(r.cells[2].dataset.v))")
    assert shares == sorted(shares, reverse=True) and len(set(shares)) > 1


def test_on_paper_nothing_is_folded(strata):
    opened = "document.querySelectorAll('details[open]').length"
    before = strata.ask(opened)
    strata.print()
    strata.ask("dispatchEvent(new Event('beforeprint'))")
    assert strata.ask("document.querySelectorAll('details:not([open])').length") == 0
    hidden = "[...document.querySelectorAll('.bar, .tools, .slider, .rename')].filter(e => e.offsetParent).length"
    assert strata.ask(hidden) == 0
    strata.ask("dispatchEvent(new Event('afterprint'))")
    strata.print(False)
    assert strata.ask(opened) == before


def first_words(page, of, n=10):
    items = f"[...document.querySelectorAll('#{of} .bars.topics li')].slice(0, {n})"
    return page.ask(f"{items}.map(li => [...li.children].map(e => e.textContent))")


def test_the_slider_orders_words_by_keyboard(strata, model_of_strata):
    model, bunch = model_of_strata
    weights, background = model.components_[0], np.asarray(bunch.data.sum(axis=0)).ravel()
    p, q = weights / weights.sum(), background / background.sum()

    def expected(weight):
        scores = np.full(40, -np.inf)
        scores[p > 0] = weight * np.log(p[p > 0]) + (1 - weight) * np.log(p[p > 0] / q[p > 0])
        return [f"word{j}" if j < 39 else "image" for j in np.argsort(-scores)[:10]]

    def names():
        return [name if name.startswith("word") else "image" for name, _, _ in first_words(strata, "topic-0")]

    server = first_words(strata, "topic-0")
    assert names() == expected(0.6)
    strata.ask("document.getElementById('order-topics').focus()")
    strata.press("ArrowRight")
    assert names() == expected(0.7) and strata.ask("document.getElementById('order-strata').value") == "0.7"
    for _ in range(3):
        strata.press("ArrowRight")
    assert names() == expected(1.0) != expected(0.0)
    for _ in range(4):
        strata.press("ArrowLeft")
    assert first_words(strata, "topic-0") == server  # the script writes numbers as the page did


def test_the_map_and_the_lists_are_linked(strata):
    lit = "[...document.querySelectorAll('#map .on')].map(e => [e.namespaceURI.slice(-3), e.dataset.topic])"
    strata.ask("document.querySelector('.bubbles a[data-topic=\"1\"]').focus()")
    assert strata.ask(lit) == [["svg", "1"], ["tml", "1"]]
    assert strata.ask("document.querySelector('#panel h3').textContent").startswith("1 ")
    assert strata.ask("document.querySelectorAll('#panel li').length") == len(first_words(strata, "topic-1", 99))
    first = strata.ask("document.querySelector('#panel li').textContent")
    assert first_words(strata, "topic-1")[0][0] in first and first_words(strata, "topic-0")[0][0] not in first
    strata.press("Enter")
    strata.ask("new Promise(requestAnimationFrame).then(() => 1)")
    assert strata.ask("location.hash") == "#topic-1"
    strata.ask("document.querySelector('#topic-2 summary').focus()")
    assert strata.ask(lit) == [["svg", "2"], ["tml", "2"]]  # and back, from a card


def test_two_groups_are_compared(strata, model_of_strata):
    model, _ = model_of_strata
    rows = "[...document.querySelectorAll('#difference rect title')].map(e => e.textContent)"
    first = strata.ask(rows)
    differences = model.shifts_[0] - model.shifts_[1]
    assert first[0].split(":")[0] == NAMES[int(np.argmax(differences))]
    strata.ask("document.getElementById('swap').click()")
    assert [row.split(":")[0] for row in strata.ask(rows)] == [row.split(":")[0] for row in first][::-1]
    choose = "(s => { s.value = '1'; s.dispatchEvent(new Event('change', {bubbles: true})) })"
    strata.ask(f"{choose}(document.getElementById('right'))")
    caption = strata.ask("document.querySelector('#compare figcaption').textContent")
    assert caption == "The shifts of these two do not differ."


def test_names_are_kept_in_the_saved_page(strata, tmp_path):
    strata.ask("document.querySelector('#topic-1 .rename').focus()")
    strata.press("Enter")
    assert strata.ask("document.activeElement.className") == "name"
    strata.type('<i>Sea & "sky"')
    strata.press("Enter")
    told = "[...document.querySelectorAll('[data-name=\"1\"]')].map(e => e.textContent)"
    assert set(strata.ask(told)) == {'<i>Sea & "sky"'} and len(strata.ask(told)) > 3
    assert 'rename_topics(model, {1: "<i>Sea & \\"sky\\""})' in strata.ask(
        "document.getElementById('renamed').textContent"
    )
    strata.type("blue")
    page = strata.saved(tmp_path, "document.getElementById('save').click()")
    strata.open(page.as_uri())
    assert set(strata.ask(told)) == {'<i>Sea & "sky"'} and strata.complaints == []
    assert len(shown(strata, "topics")) == 3 and len(first_words(strata, "topic-0")) == 10
    assert strata.ask("document.querySelectorAll('.tools.made').length") == strata.ask(
        "document.querySelectorAll('table[data-file]').length + document.querySelectorAll('figure').length"
    )


def test_tables_and_figures_are_saved(strata, tmp_path):
    table = strata.saved(tmp_path, "document.querySelector('#strata .tools.made button').click()")
    rows = list(csv.reader(table.read_text("utf-8-sig").splitlines()))
    assert table.name == "groups.csv" and [row[1] for row in rows] == ["Documents", "20", "25", "30"]
    assert rows[1][0] == "<script>document.title='gotcha'</script>" and 0 < float(rows[1][2]) <= 1
    words = strata.saved(tmp_path, "document.querySelector('#topics .slider button').click()")
    rows = list(csv.reader(words.read_text("utf-8-sig").splitlines()))
    assert rows[0] == ["topic", "name", "rank", "feature", "weight", "lift", "relevance"]
    assert [row[3] for row in rows[1:11]] == [name for name, _, _ in first_words(strata, "topic-0")]
    drawn = strata.saved(tmp_path, "document.querySelector('#map .tools.made button').click()").read_text("utf-8")
    assert drawn.startswith("<svg") and drawn.count("<circle") == 3 and "var(" not in drawn
    painted = strata.saved(tmp_path, "document.querySelector('#map .tools.made button + button').click()")
    assert painted.read_bytes()[1:4] == b"PNG" and painted.stat().st_size > 2000
