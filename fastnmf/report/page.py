"""Render `Facts` as a web page."""

import base64
import hashlib
from importlib import resources

import numpy as np

from fastnmf import __version__
from fastnmf.report.cards import MEASURES, card, flags_of, slider
from fastnmf.report.charts import bubbles, curve
from fastnmf.report.explained import COHERENCE_WORDS
from fastnmf.report.markup import bars, examples, figure, number, percent, shares, table, text, topic_link, topic_name
from fastnmf.report.overview import lede, overview
from fastnmf.report.shifts import compare_section, shifts_section, title_of_shifts, usage_section


def render(facts):
    """Return the page as one string."""
    style, script = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # The policy allows the page only its own style and script: markup in a label that is not escaped has no effect.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    words = facts.wording
    sections = [
        ("overview", "Overview", overview(facts)),
        ("tree", f"{words.topics.capitalize()} of {words.topics}", _tree(facts.tree) if facts.tree else ""),
        ("map", "Map", _map(facts) if len(facts.topics) > 2 else ""),
        ("topics", words.topics.capitalize(), _topics(facts)),
        ("strata", title_of_shifts(facts), shifts_section(facts)),
        ("compare", "Compare", compare_section(facts)),
        ("usage", "Who uses what", usage_section(facts)),
        ("diagnostics", "Diagnostics", _diagnostics(facts)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(
        f'<a href="#{key}"{" hidden data-needs-script" if key == "compare" else ""}>{name}</a>'
        for key, name, _ in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="fastnmf {__version__}">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{text(facts.title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#overview">Skip to the report</a>
<header>
<h1>{text(facts.title)}</h1>
<p class="lede">{lede(facts)}</p>
</header>
<div class="bar" id="bar">
<nav aria-label="Sections">{links}</nav>
<form role="search" id="search" hidden>
<label for="q">Search</label>
<input id="q" type="search" autocomplete="off" spellcheck="false" placeholder="Search, or press /">
<output id="found" for="q" aria-live="polite"></output>
</form>
<p class="tools" data-needs-script hidden><button type="button" id="scheme">Dark</button>
<button type="button" id="save">Save page</button></p>
</div>
<main>
{"".join(_section(*section) for section in sections)}
<p id="nothing" hidden>Nothing on this page matches. <button type="button" id="clear">Clear the search</button></p>
</main>
<footer><p id="renamed" hidden>Renamed here; <em>Save page</em> keeps the names in a copy of this page, and
<code></code> gives them to a copy of the model.</p>
Written by fastnmf {__version__}. The page is complete: it loads nothing and sends nothing.</footer>
<script type="application/json" id="data">{facts.embedded}</script>
<script>{script}</script>
</body>
</html>
"""


def _section(key, name, body):
    needs = " hidden data-needs-script" if key == "compare" else ""
    return f'<section id="{key}" aria-labelledby="h-{key}"{needs}><h2 id="h-{key}">{name}</h2>{body}</section>'


def _tree(nodes):
    """Return nested lists of topics, the coarsest level outside; topics of the finest level link to their cards."""
    if not nodes:
        return ""
    lines = []
    for node in nodes:
        words = " ".join(f'<span class="w">{text(word)}</span>' for word in node["features"]) or "nothing"
        label = f"{node['level']}.{node['topic']}"
        if node["level"] == 0:
            label = f'<a href="#topic-{node["topic"]}">{node["topic"]}</a>'
        share = f' <span class="about">{percent(node["share"], 0)}</span>' if node["share"] < 1 else ""
        below = _tree(node["children"])
        head = f'<span class="no">{label}</span>{share} <bdi>{words}</bdi>'
        if below:
            lines.append(f"<li><details open><summary>{head}</summary>{below}</details></li>")
        else:
            lines.append(f"<li>{head}</li>")
    return f'<ul class="tree">{"".join(lines)}</ul>'


def _map(facts):
    words = facts.wording
    drawn = bubbles(
        [topic.place for topic in facts.topics],
        [0.0 if topic.share is None else topic.share for topic in facts.topics],
        [(topic.number, text(topic.name)) for topic in facts.topics],
        f"Map of {len(facts.topics)} {words.topics}; the list beside it has the same {words.topics}.",
    )
    area = (
        ""
        if facts.topics[0].share is None and not any(t.share for t in facts.topics)
        else (f" The area of a circle is the share of the {words.topic} in the sum of all {words.topics}.")
    )
    caption = (
        f"{words.topics.capitalize()} with similar {words.features} lie close together, as well as two dimensions can "
        f"show it.{area}"
    )
    order = sorted(facts.topics, key=lambda topic: -(topic.share or 0))
    rows = [(topic_link(topic), topic.share or 0.0, None) for topic in order]
    listing = (
        shares(rows)
        if any(topic.share for topic in order)
        else (f'<ol class="bars">{"".join(f"<li>{link}</li>" for link, _, _ in rows)}</ol>')
    )
    return (
        f'<div class="map">{figure(drawn, caption, "map")}<div><div class="scroll">{listing}</div>'
        '<div id="panel" aria-live="polite"></div></div></div>'
    )


def _topics(facts):
    cards = "".join(_topic_card(facts, topic) for topic in facts.topics)
    return f'{slider(facts, "topics")}<div class="cards">{cards}</div>'


def _topic_card(facts, topic):
    words = facts.wording
    about = [f"{percent(topic.share)} of all {words.topics}" if topic.share is not None else ""]
    about.append(f"coherence {number(topic.npmi, 2)}" if topic.npmi is not None else "")
    about.append(f"dead: no {words.row} uses it" if topic.is_dead else "")
    rename = f'<button type="button" class="rename" data-rename="{topic.number}" hidden>Rename</button>'
    columns = [(f"{words.features.capitalize()}{MEASURES}", bars(topic.words, "topics", f"topics.{topic.number}"))]
    if topic.usage:
        used = [
            (f'<a href="#stratum-{at}"><bdi>{text(facts.strata[at].label)}</bdi></a>', share, ratio)
            for at, share, ratio in topic.usage
        ]
        columns.append(
            (
                f"Its share in the {'levels' if facts.shifts_kind == 'crossed' else 'groups'} that use it most",
                shares(used),
            )
        )
    title = f"{words.rows.capitalize()} like it" if facts.has_data else f"{words.rows.capitalize()} that use it most"
    head = f'<span class="no">{topic.number}</span> {topic_name(topic)}'
    rest = examples(topic.rows, words, title)
    about = " · ".join(filter(None, about)) + rename
    return card(f"topic-{topic.number}", "topics", head, about, flags_of(topic, words), columns, rest)


def _diagnostics(facts):
    words = facts.wording
    parts = [_curves(facts)]
    has_share, has_coherence = facts.topics[0].share is not None, any(t.npmi is not None for t in facts.topics)
    topic = words.topic.capitalize()
    heads = [topic, *(["Share"] if has_share else []), *(["NPMI", "UMass"] if has_coherence else [])]
    heads += ["Sparseness", f"Nearest {words.topic}", "Cosine"]
    lines = []
    for topic in facts.topics:
        values = ([topic.share] if has_share else []) + ([topic.npmi, topic.umass] if has_coherence else [])
        values.append(topic.sparseness)
        shown = [percent(topic.share)] * has_share + [number(v, 3) for v in values[has_share:]]
        cells = [f'<td data-v="{"" if v is None else f"{v:.6g}"}">{s}</td>' for v, s in zip(values, shown, strict=True)]
        nearest = f'<a href="#topic-{topic.nearest}">{topic.nearest}</a>' if topic.nearest is not None else "–"
        cells.append(f'<td data-v="{"" if topic.nearest is None else topic.nearest}">{nearest}</td>')
        cells.append(f'<td data-v="{topic.similarity:.4f}">{number(topic.similarity, 2)}</td>')
        lines.append(
            f'<tr data-of="topic-{topic.number}"><th scope="row" data-v="{topic.number}">{topic_link(topic)}</th>'
            f"{''.join(cells)}</tr>"
        )
    parts.append(table(heads, lines, words.topics.capitalize()))
    if has_coherence:
        known = [t.npmi for t in facts.topics if t.npmi is not None]
        parts.append(
            f'<p class="small">NPMI and UMass measure how often the {COHERENCE_WORDS} {words.features} with the '
            f"largest weights of a {words.topic} occur in the same {words.rows}: NPMI from −1 (never) over 0 (as by "
            "chance) to 1 (always); UMass is at most about 0. The mean NPMI is "
            f"{number(float(np.mean(known)), 2)}, and {percent(facts.diversity, 0)} of these {words.features} are "
            f"distinct. Sparseness is 0 for equal weights and 1 for a single {words.feature}.</p>"
        )
    parts.append(_end(facts))
    if facts.parameters:
        items = "".join(f"<li><code>{text(k)}={text(_brief(v))}</code></li>" for k, v in facts.parameters.items())
        parts.append(
            f'<details><summary>Parameters of {text(facts.kind)}</summary><ul class="parameters">{items}</ul></details>'
        )
    return "".join(parts)


def _end(facts):
    """Return how the fit ended."""
    n_iter, loss, parts = facts.numbers["n_iter_"], facts.numbers["normalized_loss_"], []
    if n_iter is not None and loss is not None:
        parts.append(f"The fit made {number(n_iter)} iterations and ended at a normalized loss of {loss:.5f}.")
    if facts.kkt is not None:
        parts.append(
            f"Its KKT residual is {number(facts.kkt, 2)}: the distance of the factors from a stationary point of the "
            "loss, relative to their size; 0 at a stationary point."
        )
    return f"<p>{' '.join(parts)}</p>" if parts else ""


def _brief(value):
    shown = f"array{value.shape}" if hasattr(value, "shape") else repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _curves(facts):
    history, shown = facts.history, []
    for name, title in (("normalized_loss", "normalized loss"), ("kkt_residual", "KKT residual")):
        if name in history and "iteration" in history and len(history[name]):
            first, last = float(history[name][0]), float(history[name][-1])
            seconds = f" in {history['seconds'][-1]:.3g} s" if "seconds" in history else ""
            words = f"From {first:.5g} to {last:.5g} in {int(history['iteration'][-1])} iterations{seconds}."
            drawn = curve(history["iteration"], history[name], "iteration", title, f"{title}: {words}")
            if drawn:
                caption = f"{title.capitalize() if name != 'kkt_residual' else title}. {words}"
                shown.append(figure(drawn, caption, name))
    return f'<div class="curves">{"".join(shown)}</div>' if shown else ""
