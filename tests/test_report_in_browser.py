"""The report as its reader meets it: in a browser without network."""

import browser
import numpy as np
import pytest

from fastnmf import NMF, StratifiedNMF, datasets, write_report

pytestmark = pytest.mark.skipif(browser.find() is None, reason=f"no browser: none of {', '.join(browser.NAMES)}")
NAMES = [f"word{j}" for j in range(40)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    bunch = datasets.make_stratified((30, 20, 25), 40, 3, density=0.4, random_state=0)
    labels = np.array(["red", "<script>document.title='gotcha'</script>", "blue"])[bunch.strata]
    model = StratifiedNMF(3, random_state=0, max_iter=40, tol=0).fit(bunch.data, strata=labels)
    names = [*NAMES[:-1], '"><img src="http://example.org/x.png" onerror="document.title=1">']
    write_report(model, folder / "strata.html", X=bunch.data, feature_names=names, title="<b>Strata</b>")
    write_report(NMF(3, random_state=0, max_iter=40, tol=0).fit(bunch.data), folder / "plain.html", feature_names=names)
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
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_asks_for_nothing_and_fits(page, files, name, width, scheme):
    address = (files / f"{name}.html").as_uri()
    page.open(address, width=width, scheme=scheme)
    assert {asked for asked in page.requests if asked != "about:blank"} <= {path.as_uri() for path in files.iterdir()}
    assert page.complaints == [] and page.ask("document.title") != "gotcha"
    assert page.ask("document.documentElement.scrollWidth") <= width
    brightness = page.ask("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert (np.mean(brightness) > 128) == (scheme == "light")


def test_keyboard_reaches_the_search_which_filters_everything(strata):
    assert len(shown(strata, "strata")) == len(shown(strata, "topics")) == 3
    strata.press("/")
    assert strata.ask("document.activeElement.id") == "q"
    strata.type("WORD11 blue")
    cards = strata.ask("[...document.querySelectorAll('[data-item]')].map(c => [c.id, c.textContent.toLowerCase()])")
    want = [name for name, text in cards if "word11" in text and "blue" in text]
    assert 0 < len(want) < 6
    assert shown(strata, "strata") + shown(strata, "topics") == want
    lines = strata.ask(
        "[...document.querySelectorAll('tr[data-of]')].filter(r => r.offsetParent).map(r => r.dataset.of)"
    )
    assert set(lines) == set(want)
    hits = strata.ask("[...document.querySelectorAll('.w.hit')].map(w => w.textContent)")
    assert hits and set(hits) == {"word11"}
    said = strata.ask("document.getElementById('found').textContent")
    n_strata = sum(name.startswith("stratum") for name in want)
    assert said == f"{n_strata} of 3 strata, {len(want) - n_strata} of 3 topics"
    assert strata.ask("location.hash") == "#q=WORD11%20blue"
    strata.press("Escape")
    assert len(shown(strata, "strata")) == len(shown(strata, "topics")) == 3
    assert strata.ask("document.getElementById('found').textContent") == ""


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
    strata.ask("dispatchEvent(new Event('beforeprint'))")
    assert strata.ask("document.querySelectorAll('details:not([open])').length") == 0
    strata.ask("dispatchEvent(new Event('afterprint'))")
    assert strata.ask("document.querySelectorAll('details[open]').length") == 0
