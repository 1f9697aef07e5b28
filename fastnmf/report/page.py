"""Render `Facts` as a web page."""

import base64
import hashlib
from importlib import resources

import numpy as np

from fastnmf import __version__
from fastnmf.report.charts import bubbles, curve
from fastnmf.report.explained import COHERENCE_WORDS
from fastnmf.report.lists import LAMBDA, joined
from fastnmf.report.markup import (
    bars,
    counted,
    examples,
    figure,
    number,
    percent,
    shares,
    table,
    text,
    topic_link,
    topic_name,
)
from fastnmf.report.overview import flag_sentence, lede, overview

MANY = 40  # cards of which a browser lays out those in sight only
_MEASURES = '<span class="n">weight</span><span class="x">lift</span>'


def render(facts):
    """Return the page as one string."""
    style, script = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # The policy allows the page only its own style and script: markup in a label that is not escaped has no effect.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    words = facts.wording
    has_groups = len(facts.strata) > 1
    has_usage = has_groups and facts.strata[0].usage is not None
    sections = [
        ("overview", "Overview", overview(facts)),
        ("tree", f"{words.topics.capitalize()} of {words.topics}", _tree(facts.tree) if facts.tree else ""),
        ("map", "Map", _map(facts) if len(facts.topics) > 2 else ""),
        ("topics", words.topics.capitalize(), _topics(facts)),
        ("strata", "Groups" if has_groups else "Shift", _strata(facts)),
        ("compare", "Compare", _compare(facts) if has_groups else ""),
        ("usage", "Who uses what", _usage(facts) if has_usage else ""),
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


def _slider(facts, key):
    """Return the slider that orders the features of all lists; there is one in each section that has lists."""
    words = facts.wording
    return (
        f'<p class="slider" data-needs-script hidden><label for="order-{key}">Order of {words.features}</label>'
        f'<span>specific <input type="range" id="order-{key}" min="0" max="1" step="0.1" value="{LAMBDA}"> frequent'
        f'</span><output for="order-{key}">λ = {LAMBDA}</output></p>'
    )


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


def _usage(facts):
    words = facts.wording
    largest = max(float(stratum.usage.max(initial=0)) for stratum in facts.strata) or 1.0
    head = "".join(
        f'<th scope="col" class="up"><button type="button"><span>{t.number} {topic_name(t)}</span></button></th>'
        for t in facts.topics
    )
    lines = []
    for at, stratum in enumerate(facts.strata):
        cells = "".join(
            f'<td data-v="{share:.4f}" style="--s:{share / largest:.2f}">{round(100 * share) or ""}</td>'
            for share in stratum.usage
        )
        lines.append(
            f'<tr data-of="stratum-{at}"><th scope="row"><a href="#stratum-{at}">{text(stratum.label)}</a></th>{cells}'
            "</tr>"
        )
    return (
        f"<p>Share of each {words.topic} in the sum of all {words.topics} over the {words.rows} of a group, in "
        "percent. Press the head of a column to sort by it.</p>"
        f'<div class="wide" tabindex="0" role="region" aria-label="Shares of {words.topics} in groups">'
        '<table class="heat sortable" data-file="usage"><thead><tr><th scope="col"><button type="button">Group</button>'
        f"</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _strata(facts):
    if not facts.strata:
        return ""
    words = facts.wording
    known = facts.strata[0].explained is not None
    marked, own = f"Marked by {words.topic}", f"Its {words.features}"
    heads = ["Group", words.rows.capitalize()]
    heads += ["Explained", "by shift", f"by {words.topics}"] if known else []
    heads += [marked] if facts.strata[0].usage is not None and len(facts.strata) > 1 else []
    heads += [own]
    lines = []
    for at, stratum in enumerate(facts.strata):
        cells = [f'<td data-v="{stratum.n_rows or 0}">{number(stratum.n_rows)}</td>']
        if known:
            parts = (stratum.explained, stratum.by_shift, stratum.by_shared)
            cells += [f'<td data-v="{share:.6f}">{percent(share)}</td>' for share in parts]
        if marked in heads:
            link = "–"
            if stratum.marked_by is not None:
                link = f"{topic_link(facts.topics[stratum.marked_by])} {times_of(stratum)}"
            cells.append(f'<td class="t">{link}</td>')
        cells.append(f'<td class="t">{text(joined(stratum.words.names[:5]))}</td>')
        lines.append(
            f'<tr data-of="stratum-{at}"><th scope="row"><a href="#stratum-{at}">{text(stratum.label)}</a></th>'
            f"{''.join(cells)}</tr>"
        )
    cards = "".join(_stratum_card(facts, at, stratum) for at, stratum in enumerate(facts.strata))
    listing = table(heads, lines, "Groups", (marked, own))
    many = " many" if len(facts.strata) > MANY else ""
    return f'{listing}{_slider(facts, "strata")}{_legend(facts)}<div class="cards{many}">{cards}</div>{_others(facts)}'


def _legend(facts):
    """Return what a star at a feature of a group means."""
    if facts.level is None:
        return ""
    level, is_adjusted = facts.level
    words, value = facts.wording, "adjusted p-value" if is_adjusted else "p-value"
    return (
        f'<p class="small"><span class="w star">A star</span>: by the test of <code>specific_features</code> the '
        f"{words.feature} is specific to the group ({value} of at most {level:g}).</p>"
    )


def _others(facts):
    """Return the table of the strata that have no card."""
    if not facts.others:
        return ""
    heads = ["Group", facts.wording.rows.capitalize(), f"Its {facts.wording.features}"]
    lines = [
        f'<tr data-item="strata"><th scope="row">{text(label)}</th><td data-v="{n_rows or 0}">{number(n_rows)}</td>'
        f'<td class="t">{text(joined(words))}</td></tr>'
        for label, n_rows, words in facts.others
    ]
    return f"<h3>{len(lines)} smaller groups</h3>{table(heads, lines, 'Smaller groups', heads[2:])}"


def times_of(stratum):
    """Return the lift of the topic by which a stratum is marked."""
    return f'<span class="x">{number(float(stratum.lifts[stratum.marked_by]), 2)}×</span>'


def _card(key, item, head, about, flags, columns, rest):
    """Return a card, which the script folds on a small screen.

    Parameters
    ----------
    key, item : str
        Its id, and the kind by which the search counts it.
    head, about : str
    flags : list of str
    columns : list of (str, str)
        Titles and lists, side by side; those of shares below the others.
    rest : str
    """
    wholly = ' class="wholly"'
    body = "".join(
        f"<div{wholly if 'bars shares' in content else ''}><h4>{name}</h4>{content}</div>" for name, content in columns
    )
    flags = "".join(f'<p class="flag"><span class="mark" aria-hidden="true">!</span> {flag}</p>' for flag in flags)
    topic = f' data-topic="{key.removeprefix("topic-")}"' if item == "topics" else ""
    return (
        f'<article class="card" id="{key}" data-item="{item}"{topic}><details class="fold" open><summary>'
        f'<h3>{head}</h3></summary><p class="about">{about}</p>{flags}<div class="columns">{body}</div>'
        f"{rest}</details></article>"
    )


def _flags(part, wording):
    found = [flag_sentence(kind, wording) for kind, _ in part.flags]
    return [sentence[0].upper() + sentence[1:] for sentence in found]


def _stratum_card(facts, at, stratum):
    words = facts.wording
    about = [counted(stratum.n_rows, words.row, words.rows) if stratum.n_rows is not None else ""]
    about.append(f"{percent(stratum.explained)} explained" if stratum.explained is not None else "")
    columns = [
        (f"{words.features.capitalize()} of its shift{_MEASURES}", bars(stratum.words, "strata", f"groups.{at}"))
    ]
    if stratum.usage is not None:
        order = [c for c in np.argsort(-stratum.usage, kind="stable")[:5] if stratum.usage[c] >= 0.005]
        lifts = stratum.lifts if len(facts.strata) > 1 else [None] * len(facts.topics)
        used = [(topic_link(facts.topics[c]), float(stratum.usage[c]), lifts[c]) for c in order]
        columns.append((f"{words.topics.capitalize()} it uses", shares(used)))
    rest = examples(stratum.rows, words, f"{words.rows.capitalize()} like its shift")
    head = f"<bdi>{text(stratum.label)}</bdi>"
    about = " · ".join(filter(None, about))
    return _card(f"stratum-{at}", "strata", head, about, _flags(stratum, words), columns, rest)


def _topics(facts):
    cards = "".join(_topic_card(facts, topic) for topic in facts.topics)
    return f'{_slider(facts, "topics")}<div class="cards">{cards}</div>'


def _topic_card(facts, topic):
    words = facts.wording
    about = [f"{percent(topic.share)} of all {words.topics}" if topic.share is not None else ""]
    about.append(f"coherence {number(topic.npmi, 2)}" if topic.npmi is not None else "")
    about.append(f"dead: no {words.row} uses it" if topic.is_dead else "")
    rename = f'<button type="button" class="rename" data-rename="{topic.number}" hidden>Rename</button>'
    columns = [(f"{words.features.capitalize()}{_MEASURES}", bars(topic.words, "topics", f"topics.{topic.number}"))]
    if topic.usage:
        used = [
            (f'<a href="#stratum-{at}"><bdi>{text(facts.strata[at].label)}</bdi></a>', share, ratio)
            for at, share, ratio in topic.usage
        ]
        columns.append(("Its share in the groups that use it most", shares(used)))
    title = f"{words.rows.capitalize()} like it" if facts.has_data else f"{words.rows.capitalize()} that use it most"
    head = f'<span class="no">{topic.number}</span> {topic_name(topic)}'
    rest = examples(topic.rows, words, title)
    about = " · ".join(filter(None, about)) + rename
    return _card(f"topic-{topic.number}", "topics", head, about, _flags(topic, words), columns, rest)


def _compare(facts):
    """Return the section in which the script draws the differences of two groups."""
    options = [f'<option value="{at}">{text(stratum.label)}</option>' for at, stratum in enumerate(facts.strata)]
    second = options[1].replace("<option", "<option selected", 1)
    words = facts.wording
    return (
        f"<p>The {words.features} by whose shifts two groups differ most: the length of a bar is the difference of "
        "their weights.</p>"
        '<form class="pair" id="pair"><label for="left">Group</label>'
        f'<select id="left">{"".join(options)}</select><label for="right">against</label>'
        f'<select id="right">{options[0]}{second}{"".join(options[2:])}</select>'
        '<button type="button" id="swap">Swap</button></form>'
        '<figure data-file="comparison"><div id="difference" aria-live="polite"></div><figcaption></figcaption>'
        "</figure>"
    )


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
