"""Render `Facts` as a web page. All strings from data or files pass through `text`."""

import base64
import hashlib
import html
from importlib import resources

import numpy as np

from fastnmf import __version__
from fastnmf.report.charts import curve
from fastnmf.report.facts import ALIKE, COHERENCE_WORDS

N_BARS = 10  # words shown as bars; the rest of a list is collapsed
_CONTROLS = (*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = dict.fromkeys(_CONTROLS, "\ufffd")  # the last two ranges turn the direction of the text after them
_TEXT, _TEXT_COLUMNS = ' class="t"', ("Marked by topic", "Its shift", "Above the other strata")
_STOPPED = {
    "tol": "the loss has converged",
    "max_iter": "it reached max_iter before the loss had converged",
    "max_time": "it reached max_time",
    "callback": "a callback stopped it",
}


def text(value):
    """Return a value as text without any meaning in HTML."""
    return html.escape(str(value).translate(_CONTROLS), quote=True)


def number(value, digits=3):
    """Return a number rounded to `digits` digits; a dash for None or a value that is not finite."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, int | np.integer) or abs(value) >= 100:
        shown = f"{value:,.0f}"
    elif abs(value) < 1e-3 and value != 0:
        shown = f"{value:.1e}"
    else:
        shown = f"{value:#.{digits}g}".rstrip(".")
    return shown.replace("-", "\u2212")


def percent(share, digits=1):
    """Return a share as a percentage; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f}&#8239;%"


def render(facts):
    """Return the page as one string."""
    style, script = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # The policy allows the page only its own style and script: markup in a label that is not escaped has no effect.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    has_map = bool(facts.strata) and facts.strata[0].usage is not None and len(facts.strata) > 1
    sections = [
        ("overview", "Overview", _overview(facts)),
        ("tree", "Topics of topics", _tree(facts.tree) if facts.tree else ""),
        ("map", "Who uses what", _map(facts) if has_map else ""),
        ("strata", "Strata", _strata(facts)),
        ("topics", "Topics", _topics(facts)),
        ("diagnostics", "Diagnostics", _diagnostics(facts)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name, _ in sections)
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
<p class="lede">{_lede(facts)}</p>
</header>
<div class="bar" id="bar">
<nav aria-label="Sections">{links}</nav>
<form role="search" id="search" hidden>
<label for="q">Search words, strata, topics</label>
<input id="q" type="search" autocomplete="off" spellcheck="false" placeholder="Search words, strata, topics">
<output id="found" for="q" aria-live="polite"></output>
</form>
</div>
<main>
{"".join(_section(*section) for section in sections)}
<p id="nothing" hidden>Nothing on this page matches. <button type="button" id="clear">Clear the search</button></p>
</main>
<footer>Written by fastnmf {__version__}. The page is complete: it loads nothing and sends nothing.</footer>
<script>{script}</script>
</body>
</html>
"""


def _section(key, name, body):
    return f'<section id="{key}" aria-labelledby="h-{key}"><h2 id="h-{key}">{name}</h2>{body}</section>'


def _lede(facts):
    size = f"{number(facts.n_features)} features"
    if facts.n_rows is not None:
        size = f"{number(facts.n_rows)} rows of {size}"
    if facts.n_strata > 1:
        return (
            f"{size}, in {facts.n_strata:,} groups (strata). {len(facts.topics)} topics are shared by all of them; "
            "each stratum has its own shift, which is added to each of its rows."
        )
    if facts.tree:
        return f"{size}, described by a hierarchy: {len(facts.topics)} topics, in {len(facts.tree)} at the top."
    return f"{size}, described by {len(facts.topics)} topics."


def _overview(facts):
    loss = facts.numbers["normalized_loss_"]
    of = "of the squared norm explained" if facts.is_squared else f"of the {text(facts.loss_name)} divergence explained"
    figures = [
        (number(facts.n_rows), "rows"),
        (number(facts.n_features), "features"),
        (number(facts.n_nonzeros), "entries that are not zero") if facts.n_nonzeros is not None else None,
        (number(facts.n_strata), "strata") if facts.n_strata > 1 else None,
        (len(facts.topics), "topics"),
        (percent(1 - loss**2), of) if loss is not None else None,
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for value, name in filter(None, figures))
    parts = [f'<dl class="figures">{cells}</dl>']
    if facts.verdict:
        answer, colon, reason = facts.verdict.partition(":")
        parts.append(
            f'<aside class="verdict"><h3>Do these data need strata?</h3><p><strong>{text(answer + colon)}</strong>'
            f"{text(reason)}</p></aside>"
        )
    parts += [f'<p class="note">{text(note)}</p>' for note in facts.notes]
    stopped, n_iter = facts.numbers["stopped_by_"], facts.numbers["n_iter_"]
    if stopped and loss is not None:
        parts.append(
            f"<p>The fit stopped after {number(n_iter)} iterations, because {text(_STOPPED.get(stopped, stopped))}, at "
            f"a normalized loss of {loss:.5f}.</p>"
        )
    parts.append(f"<details><summary>How to read this page</summary>{_guide(facts)}</details>")
    return "".join(parts)


def _guide(facts):
    lines = [
        "<b>A topic</b> is a list of features that occur together, with weights. A row is a weighted sum of topics. "
        "Topics have numbers, and their first words serve as names; the order of the numbers has no meaning.",
    ]
    if facts.n_strata > 1:
        lines += [
            "<b>The shift of a stratum</b> is the part that all its rows have in common, whatever their topics. "
            "<i>Above the other strata</i> are the features by which a stratum differs from others: its shift less the "
            "mean shift of the others. <i>In the shift</i> are its largest features, which other strata may share.",
            "<b>The share of a topic in a stratum</b> is its part in the sum of all topics over the rows of that "
            "stratum; the shares of a stratum add up to 100&#8239;%.",
            "<b>Caution.</b> The model does not fully determine the split between shifts and topics: parts can be "
            "exchanged as long as both stay non-negative. The order of words is more reliable than the size of bars.",
        ]
    loss = facts.numbers["normalized_loss_"]
    if facts.is_sparse and facts.is_squared and loss is not None and 1 - loss**2 < 0.3:
        lines.append(
            "<b>A small explained share</b> is usual for sparse data: most of the squared norm of a text, for example, "
            "comes from words that few other texts contain. The grouping of the words is the result."
        )
    lines.append("Rows are counted from 0.")
    return "".join(f"<p>{line}</p>" for line in lines)


def _tree(nodes):
    """Return nested lists of topics, the coarsest level outside; topics of the finest level link to their cards."""
    if not nodes:
        return ""
    lines = []
    for node in nodes:
        words = " ".join(f'<span class="w">{text(word)}</span>' for word in node["features"]) or "nothing"
        label = f"{node['level']}.{node['topic'] + 1}"
        if node["level"] == 0:
            label = f'<a href="#topic-{node["topic"] + 1}">{node["topic"] + 1}</a>'
        share = f' <span class="about">{percent(node["share"], 0)}</span>' if node["share"] < 1 else ""
        below = _tree(node["children"])
        head = f'<span class="no">{label}</span>{share} <bdi>{words}</bdi>'
        if below:
            lines.append(f"<li><details open><summary>{head}</summary>{below}</details></li>")
        else:
            lines.append(f"<li>{head}</li>")
    return f'<ul class="tree">{"".join(lines)}</ul>'


def _bars(words, kind):
    """Return a list of features as bars; after the first `N_BARS` the list is collapsed."""
    if not words.names:
        return '<p class="none">None.</p>'
    largest = words.values[0]
    pairs = list(zip(words.names, words.values, strict=True))
    bars = "".join(
        f'<li style="--v:{value / largest:.3f}"><span class="w">{text(name)}</span><span class="n">{number(value, 2)}'
        "</span></li>"
        for name, value in pairs[:N_BARS]
    )
    more = "".join(f'<span class="w">{text(name)}</span> ' for name, _ in pairs[N_BARS:])
    count = len(pairs) - N_BARS
    more = f'<details class="more"><summary>{count} more</summary><p>{more}</p></details>' if count > 0 else ""
    return f'<ol class="bars {kind}">{bars}</ol>{more}'


def _shares(pairs):
    """Return links with their shares as bars, from triples (address, name, share)."""
    largest = max((share for _, _, share in pairs), default=1) or 1
    items = "".join(
        f'<li style="--v:{share / largest:.3f}"><a href="#{address}">{text(name)}</a><span class="n">'
        f"{percent(share, 0)}</span></li>"
        for address, name, share in pairs
    )
    return f'<ol class="bars shares">{items}</ol>'


def _row_list(rows, title):
    if not rows:
        return ""
    items = "".join(
        f'<li><span class="row">Row {row.number}</span> '
        + (f'<span class="of">{text(row.stratum)}</span> ' if row.stratum else "")
        + f"<bdi>{text(row.text)}</bdi></li>"
        for row in rows
    )
    return f'<details class="rows"><summary>{title}</summary><ul>{items}</ul></details>'


def _map(facts):
    largest = max(float(stratum.usage.max(initial=0)) for stratum in facts.strata) or 1.0
    head = "".join(
        f'<th scope="col" class="up"><button type="button" title="Topic {t.number}: {text(t.name)}"><span>{t.number} '
        f"{text(t.name)}</span></button></th>"
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
        "<p>Share of each topic in the sum of all topics over the rows of a stratum, in percent. Press the head of a "
        "column to sort by it.</p>"
        '<div class="wide" tabindex="0" role="region" aria-label="Shares of topics in strata">'
        '<table class="heat sortable"><thead><tr><th scope="col"><button type="button">Stratum</button></th>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _strata(facts):
    if not facts.strata:
        return ""
    known = facts.strata[0].explained is not None
    is_one = len(facts.strata) == 1
    heads = ["Stratum", "Rows"] + (["Explained", "by shift", "by topics"] if known else [])
    heads += ["Marked by topic"] if facts.strata[0].usage is not None else []
    heads += ["Its shift" if is_one else "Above the other strata"]
    lines = []
    for at, stratum in enumerate(facts.strata):
        cells = [f'<td data-v="{stratum.n_rows or 0}">{number(stratum.n_rows)}</td>']
        if known:
            parts = (stratum.explained, stratum.by_shift, stratum.by_shared)
            cells += [f'<td data-v="{share:.6f}">{percent(share)}</td>' for share in parts]
        if stratum.usage is not None:
            overall = np.array([topic.share or 0.0 for topic in facts.topics])
            first = facts.topics[int(np.argmax(stratum.usage - overall))]
            cells.append(f'<td class="t"><a href="#topic-{first.number}">{first.number} {text(first.name)}</a></td>')
        words = (stratum.shift if is_one else stratum.above).names[:5]
        cells.append(f'<td class="t">{" ".join(map(text, words))}</td>')
        lines.append(
            f'<tr data-of="stratum-{at}"><th scope="row"><a href="#stratum-{at}">{text(stratum.label)}</a></th>'
            f"{''.join(cells)}</tr>"
        )
    cards = "".join(_stratum_card(facts, at, stratum) for at, stratum in enumerate(facts.strata))
    return f'{_table(heads, lines, "Strata")}<div class="cards two">{cards}</div>'


def _table(heads, lines, name):
    head = "".join(
        f'<th scope="col"{_TEXT if h in _TEXT_COLUMNS else ""}><button type="button">{h}</button></th>' for h in heads
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}, table"><table class="sortable"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _stratum_card(facts, at, stratum):
    about = [f"{number(stratum.n_rows)} rows" if stratum.n_rows is not None else ""]
    about.append(f"{percent(stratum.explained)} explained" if stratum.explained is not None else "")
    columns = [("In the shift", _bars(stratum.shift, "strata"))]
    if len(facts.strata) > 1:
        columns.insert(0, ("Above the other strata", _bars(stratum.above, "strata")))
    if stratum.usage is not None:
        order = [c for c in np.argsort(-stratum.usage, kind="stable")[:5] if stratum.usage[c] >= 0.005]
        topics = [(f"topic-{c + 1}", f"{c + 1} {facts.topics[c].name}", float(stratum.usage[c])) for c in order]
        columns.append(("Topics it uses", _shares(topics)))
    body = _columns(columns)
    return (
        f'<article class="card" id="stratum-{at}" data-item="strata"><h3><bdi>{text(stratum.label)}</bdi></h3>'
        f'<p class="about">{" · ".join(filter(None, about))}</p><div class="columns">{body}</div>'
        f"{_row_list(stratum.rows, 'Rows like its shift')}</article>"
    )


def _columns(columns):
    """Return lists side by side, with those of shares below the others."""
    wholly = ' class="wholly"'
    return "".join(
        f"<div{wholly if 'bars shares' in content else ''}><h4>{name}</h4>{content}</div>" for name, content in columns
    )


def _topics(facts):
    return f'<div class="cards">{"".join(_topic_card(facts, topic) for topic in facts.topics)}</div>'


def _topic_card(facts, topic):
    about = [f"{percent(topic.share)} of the sum of all topics" if topic.share is not None else ""]
    about.append(f"coherence {number(topic.npmi, 2)}" if topic.npmi is not None else "")
    about.append("dead: no row uses it" if topic.is_dead else "")
    columns = [("Features", _bars(topic.words, "topics"))]
    if topic.usage:
        strata = [(f"stratum-{at}", facts.strata[at].label, share) for at, share in topic.usage]
        columns.append(("Its share in the strata that use it most", _shares(strata)))
    body = _columns(columns)
    return (
        f'<article class="card" id="topic-{topic.number}" data-item="topics"><h3><span class="no">{topic.number}</span>'
        f' <bdi>{text(topic.name)}</bdi></h3><p class="about">{" · ".join(filter(None, about))}</p>'
        f'<div class="columns">{body}</div>{_row_list(topic.rows, "Rows that use it most")}</article>'
    )


def _diagnostics(facts):
    parts = [_curves(facts), _complaints(facts)]
    has_share, has_coherence = facts.topics[0].share is not None, any(t.npmi is not None for t in facts.topics)
    heads = ["Topic", *(["Share"] if has_share else []), *(["NPMI", "UMass"] if has_coherence else [])]
    heads += ["Sparseness", "Nearest topic", "Cosine"]
    lines = []
    for topic in facts.topics:
        values = ([topic.share] if has_share else []) + ([topic.npmi, topic.umass] if has_coherence else [])
        values.append(topic.sparseness)
        shown = [percent(topic.share)] * has_share + [number(v, 3) for v in values[has_share:]]
        cells = [f'<td data-v="{"" if v is None else f"{v:.6g}"}">{s}</td>' for v, s in zip(values, shown, strict=True)]
        nearest = f'<a href="#topic-{topic.nearest}">{topic.nearest}</a>' if topic.nearest else "–"
        cells.append(f'<td data-v="{topic.nearest or ""}">{nearest}</td>')
        cells.append(f'<td data-v="{topic.similarity:.4f}">{number(topic.similarity, 2)}</td>')
        lines.append(
            f'<tr data-of="topic-{topic.number}"><th scope="row" data-v="{topic.number}">'
            f'<a href="#topic-{topic.number}">'
            f"{topic.number} {text(topic.name)}</a></th>{''.join(cells)}</tr>"
        )
    parts.append(_table(heads, lines, "Topics"))
    if has_coherence:
        known = [t.npmi for t in facts.topics if t.npmi is not None]
        parts.append(
            f'<p class="small">NPMI and UMass measure how often the {COHERENCE_WORDS} first words of a topic occur in '
            "the same rows: NPMI from −1 (never) over 0 (as by chance) to 1 (always); UMass is at most about 0. Their "
            f"mean NPMI is {number(float(np.mean(known)), 2)}, and {percent(facts.diversity, 0)} of these words are "
            "distinct. Sparseness is 0 for equal weights and 1 for a single word.</p>"
        )
    if facts.parameters:
        items = "".join(f"<li><code>{text(k)}={text(_brief(v))}</code></li>" for k, v in facts.parameters.items())
        parts.append(
            f'<details><summary>Parameters of {text(facts.kind)}</summary><ul class="parameters">{items}</ul></details>'
        )
    return "".join(parts)


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
                shown.append(f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="curves">{"".join(shown)}</div>' if shown else ""


def _complaints(facts):
    """Return sentences about possible problems, or one sentence that there are none."""
    found = []
    if facts.numbers["converged_"] is False:
        found.append("The fit had not converged; more iterations may change the topics.")
    dead = [f'<a href="#topic-{t.number}">{t.number}</a>' for t in facts.topics if t.is_dead]
    if dead:
        found.append(f"Dead topics, which no row uses: {', '.join(dead)}. Use fewer components.")
    pairs = {tuple(sorted((t.number, t.nearest))): t.similarity for t in facts.topics if t.similarity >= ALIKE}
    if pairs:
        alike = ", ".join(
            f'<a href="#topic-{a}">{a}</a> and <a href="#topic-{b}">{b}</a> (cosine {cosine:.2f})'
            for (a, b), cosine in sorted(pairs.items())
        )
        found.append(f"Topics that are nearly the same: {alike}.")
    if facts.numbers["n_revived_"]:
        found.append(f"A component died and was reseeded {facts.numbers['n_revived_']} times during the fit.")
    if not found:
        found = ["No topic is dead, and no two are nearly the same."]
    if facts.kkt is not None:
        found.append(
            f"KKT residual {number(facts.kkt, 2)}: the distance of the factors from a stationary point of the loss, "
            "relative to their size; 0 at a stationary point."
        )
    return f'<ul class="found">{"".join(f"<li>{sentence}</li>" for sentence in found)}</ul>'
