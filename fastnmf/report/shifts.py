"""Write what the page says of shifts: groups or factors, two of them compared, and who uses which topic."""

import numpy as np

from fastnmf.report.cards import MANY, MEASURES, card, flags_of, slider
from fastnmf.report.charts import lines
from fastnmf.report.lists import joined
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


def title_of_shifts(facts):
    """Return the heading of the section of shifts."""
    if facts.shifts_kind in ("crossed", "matrix"):
        return "Shifts"
    return "Groups" if len(facts.strata) > 1 else "Shift"


def shifts_section(facts):
    """Return the section: a table and cards of the groups, or an intercept and one block for each factor."""
    if not facts.strata:
        return ""
    head = f"{slider(facts, 'strata')}{_legend(facts)}"
    if facts.shifts_kind in ("crossed", "matrix"):
        first = "" if facts.intercept is None else _cards(facts, [0])
        blocks = "".join(_factor(facts, at, factor) for at, factor in enumerate(facts.factors))
        return f"{head}{first}{blocks}{_others(facts)}"
    members = range(len(facts.strata))
    listing, cards = _listing(facts, members, "Group", "Groups"), _cards(facts, members)
    return f"{listing}{_course(facts, facts.factors[0], '')}{head}{cards}{_others(facts)}"


def _factor(facts, number_of, factor):
    """Return the block of a factor: what it is worth, its course, a table and cards of its levels in order."""
    words = facts.wording
    many = counted(factor.n_levels, "level", "levels")
    head, one, what = text(factor.name), "Level", f"Levels of {text(factor.name)}"
    if facts.shifts_kind == "matrix":
        head, one, what = "Columns of the design", "Column", "Columns"
        many = counted(factor.n_levels, "column", "columns")
    features = f'<span class="w">{text(joined(factor.features))}</span>'
    said = [f"{many}. They differ most in the {words.features} {features}."] if factor.n_levels > 1 else [f"{many}."]
    if factor.answer is not None:
        said.append(f"The factor removes {percent(factor.gain)} of the error that is left without it.")
    return (
        f'<div class="factor" id="factor-{number_of}"><h3><bdi>{head}</bdi></h3><p>{" ".join(said)}</p>'
        f"{_course(facts, factor, f'effect of {text(factor.name)}')}"
        f"{_listing(facts, factor.members, one, what)}{_cards(facts, factor.members)}</div>"
    )


def _course(facts, factor, y_name):
    """Return the shifts of the features that differ most over the levels of an ordered factor, as a figure."""
    if factor.positions is None or not factor.courses:
        return ""
    words, name = facts.wording, text(factor.name) or "group"
    drawn = lines(
        factor.positions,
        [(text(feature), values) for feature, values in factor.courses],
        factor.ticks,
        name,
        y_name or "shift",
        f"Shifts over {name}, of the {words.features} that differ most; the table below has all levels.",
    )
    if not drawn:
        return ""
    caption = f"The {words.features} whose shifts differ most over <bdi>{name}</bdi>."
    return figure(drawn, caption, f"course-of-{name}")


def _listing(facts, members, one, what):
    """Return the table of some strata of the page.

    Parameters
    ----------
    facts : Facts
    members : sequence of int
        Their places.
    one, what : str
        Head of the first column, and the name of the table.
    """
    words, chosen = facts.wording, [facts.strata[at] for at in members]
    if not chosen:
        return ""
    known = chosen[0].explained is not None
    has_own = any(stratum.by_own is not None for stratum in chosen)
    marked, own = f"Marked by {words.topic}", f"Its {words.features}"
    heads = [one, words.rows.capitalize()]
    heads += ["Explained", "by shift", f"by {words.topics}"] if known else []
    heads += ["by its own"] if has_own else []
    heads += [marked] if chosen[0].usage is not None and len(facts.strata) > 1 else []
    heads += [own]
    rows = []
    for at, stratum in zip(members, chosen, strict=True):
        cells = [f'<td data-v="{stratum.n_rows or 0}">{number(stratum.n_rows)}</td>']
        if known:
            parts = (stratum.explained, stratum.by_shift, stratum.by_shared, *((stratum.by_own,) if has_own else ()))
            cells += [f'<td data-v="{share:.6f}">{percent(share)}</td>' for share in parts]
        if marked in heads:
            link = "–"
            if stratum.marked_by is not None:
                link = f"{topic_link(facts.topics[stratum.marked_by])} {times_of(stratum)}"
            cells.append(f'<td class="t">{link}</td>')
        cells.append(f'<td class="t">{text(joined(stratum.words.names[:5]))}</td>')
        rows.append(
            f'<tr data-of="stratum-{at}"><th scope="row"><a href="#stratum-{at}">{text(stratum.level)}</a></th>'
            f"{''.join(cells)}</tr>"
        )
    return table(heads, rows, what, (marked, own))


def _cards(facts, members):
    many = " many" if len(members) > MANY else ""
    return f'<div class="cards{many}">{"".join(_stratum_card(facts, at, facts.strata[at]) for at in members)}</div>'


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
    what = "shifts" if facts.shifts_kind in ("crossed", "matrix") else "groups"
    heads = [what[:-1].capitalize(), facts.wording.rows.capitalize(), f"Its {facts.wording.features}"]
    rows = [
        f'<tr data-item="strata"><th scope="row">{text(label)}</th><td data-v="{n_rows or 0}">{number(n_rows)}</td>'
        f'<td class="t">{text(joined(words))}</td></tr>'
        for label, n_rows, words in facts.others
    ]
    return f"<h3>{len(rows)} smaller {what}</h3>{table(heads, rows, f'Smaller {what}', heads[2:])}"


def times_of(stratum):
    """Return the lift of the topic by which a stratum is marked."""
    return f'<span class="x">{number(float(stratum.lifts[stratum.marked_by]), 2)}×</span>'


def _stratum_card(facts, at, stratum):
    words = facts.wording
    about = [counted(stratum.n_rows, words.row, words.rows) if stratum.n_rows is not None else ""]
    about.append(f"{percent(stratum.explained)} explained" if stratum.explained is not None else "")
    if stratum is facts.intercept:
        about = [f"what all {words.rows} have, whatever their levels"]
    columns = [(f"{words.features.capitalize()} of its shift{MEASURES}", bars(stratum.words, "strata", f"groups.{at}"))]
    columns += _own_lists(facts, stratum)
    if stratum.usage is not None:
        order = [c for c in np.argsort(-stratum.usage, kind="stable")[:5] if stratum.usage[c] >= 0.005]
        lifts = stratum.lifts if len(facts.strata) > 1 else [None] * len(facts.topics)
        used = [(topic_link(facts.topics[c]), float(stratum.usage[c]), lifts[c]) for c in order]
        columns.append((f"{words.topics.capitalize()} it uses", shares(used)))
    rest = examples(stratum.rows, words, f"{words.rows.capitalize()} like its shift")
    head = f"<bdi>{text(stratum.label)}</bdi>"
    about = " · ".join(filter(None, about))
    return card(f"stratum-{at}", "strata", head, about, flags_of(stratum, words), columns, rest)


def _own_lists(facts, stratum):
    """Return titles and lists of the components that only this stratum has."""
    place = {id(topic): at for at, topic in enumerate(facts.own)}
    found = []
    for topic in stratum.own:
        name = f"Its own {facts.wording.topic} {topic.number}"
        if facts.is_tied:
            name = f"It adds to {facts.wording.topic} {topic.number}"
        found.append((f"{name}, {percent(topic.share)}{MEASURES}", bars(topic.words, "own", f"own.{place[id(topic)]}")))
    return found


def compare_section(facts):
    """Return the section in which the script draws the differences of two groups, or of two levels of a factor."""
    blocks = [(factor.name, factor.members) for factor in facts.factors if len(factor.members) > 1]
    if not blocks:
        return ""
    is_grouped = facts.shifts_kind == "crossed"
    (_, (first, second, *_)), lists = blocks[0], []
    for chosen in (first, second):
        parts = []
        for name, members in blocks:
            options = "".join(
                f'<option value="{at}"{" selected" if at == chosen else ""}>{text(facts.strata[at].level)}</option>'
                for at in members
            )
            parts.append(f'<optgroup label="{text(name)}">{options}</optgroup>' if is_grouped else options)
        lists.append("".join(parts))
    words = facts.wording
    what, one = ("levels of a factor", "Level") if is_grouped else ("groups", "Group")
    return (
        f"<p>The {words.features} by whose shifts two {what} differ most: the length of a bar is the difference of "
        "their weights.</p>"
        f'<form class="pair" id="pair"><label for="left">{one}</label>'
        f'<select id="left">{lists[0]}</select><label for="right">against</label>'
        f'<select id="right">{lists[1]}</select>'
        '<button type="button" id="swap">Swap</button></form>'
        '<figure data-file="comparison"><div id="difference" aria-live="polite"></div><figcaption></figcaption>'
        "</figure>"
    )


def usage_section(facts):
    """Return the table of the shares of topics in groups; empty where the rows of the groups are not known."""
    using = [(at, stratum) for at, stratum in enumerate(facts.strata) if stratum.usage is not None]
    if len(using) < 2:
        return ""
    words, one = facts.wording, "level" if facts.shifts_kind == "crossed" else "group"
    largest = max(float(stratum.usage.max(initial=0)) for _, stratum in using) or 1.0
    head = "".join(
        f'<th scope="col" class="up"><button type="button"><span>{t.number} {topic_name(t)}</span></button></th>'
        for t in facts.topics
    )
    rows = []
    for at, stratum in using:
        cells = "".join(
            f'<td data-v="{share:.4f}" style="--s:{share / largest:.2f}">{round(100 * share) or ""}</td>'
            for share in stratum.usage
        )
        rows.append(
            f'<tr data-of="stratum-{at}"><th scope="row"><a href="#stratum-{at}">{text(stratum.label)}</a></th>{cells}'
            "</tr>"
        )
    return (
        f"<p>Share of each {words.topic} in the sum of all {words.topics} over the {words.rows} of a {one}, in "
        "percent. Press the head of a column to sort by it.</p>"
        f'<div class="wide" tabindex="0" role="region" aria-label="Shares of {words.topics} in {one}s">'
        '<table class="heat sortable" data-file="usage"><thead><tr><th scope="col">'
        f'<button type="button">{one.capitalize()}</button>'
        f"</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
