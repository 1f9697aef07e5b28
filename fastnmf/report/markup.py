"""Write parts of the page: text, numbers, lists of bars, tables. All strings from data or files pass through `text`."""

import html

import numpy as np

from fastnmf.report.lists import CONTROLS, N_SHOWN


def text(value):
    """Return a value as text without any meaning in HTML."""
    return html.escape(str(value).translate(CONTROLS), quote=True)


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
    return "–" if share is None else f"{100 * share:.{digits}f}&#8239;%".replace("-", "\u2212")


def times(value):
    """Return a lift as a multiple: "3.4×"."""
    return f"{number(float(value), 2)}×"


def counted(n, one, many):
    """Return a number with its noun."""
    return f"{number(n)} {one if n == 1 else many}"


def listed(parts):
    """Return parts as "a, b and c"."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def topic_name(topic):
    """Return the name of a topic as a part that the script renames."""
    return f'<bdi data-name="{topic.number}">{text(topic.name)}</bdi>'


def topic_link(topic):
    """Return a link to the card of a topic, with its number and name."""
    return f'<a href="#topic-{topic.number}" data-topic="{topic.number}">{topic.number} {topic_name(topic)}</a>'


def bars(words, kind, key):
    """Return a list of features as bars, with weight and lift; after the first ten the list is collapsed.

    Parameters
    ----------
    words : Words
    kind : {"topics", "strata"}
        Its colour.
    key : str
        Place of the list in what the script reads: "topics.0", "groups.3".
    """
    if not words.names:
        return '<p class="none">None.</p>'
    names = [
        f'<span class="w{" star" if at in words.starred else ""}">{text(name)}</span>'
        for at, name in zip(words.at.tolist(), words.names, strict=True)
    ]
    shown = list(zip(names, words.values, words.lifts, strict=True))[:N_SHOWN]
    largest = max(value for _, value, _ in shown)
    items = "".join(
        f'<li style="--v:{value / largest:.3f}">{name}'
        f'<span class="n">{number(value, 2)}</span><span class="x">{times(lift)}</span></li>'
        for name, value, lift in shown
    )
    more = "".join(f"{name} " for name in names[N_SHOWN:])
    count = len(words.names) - N_SHOWN
    more = f'<details class="more"><summary>{count} more</summary><p>{more}</p></details>' if count > 0 else ""
    return f'<div data-list="{key}"><ol class="bars {kind}">{items}</ol>{more}</div>'


def shares(rows):
    """Return links with their shares as bars, from tuples (link, share, lift or None)."""
    largest = max((share for _, share, _ in rows), default=1) or 1
    items = "".join(
        f'<li style="--v:{share / largest:.3f}">{link}<span class="n">{percent(share, 0)}</span>'
        + ("" if lift is None else f'<span class="x">{times(lift)}</span>')
        + "</li>"
        for link, share, lift in rows
    )
    return f'<ol class="bars shares">{items}</ol>'


def examples(rows, wording, title):
    """Return example rows as a collapsed list."""
    if not rows:
        return ""
    items = []
    for row in rows:
        label = f'<span class="of">{text(row.stratum)}</span> ' if row.stratum else ""
        cosine = "" if row.cosine is None else f' <span class="n">cosine {row.cosine:.2f}</span>'
        body = f"<p><bdi>{text(row.text)}</bdi></p>" if row.text else ""
        head = f'<span class="row">{wording.row.capitalize()} {row.number}</span> {label}<bdi>{text(row.title)}</bdi>'
        items.append(f"<li>{head}{cosine}{body}</li>")
    return f'<details class="rows"><summary>{title}</summary><ul>{"".join(items)}</ul></details>'


def table(heads, lines, name, texts=()):
    """Return a table that the script can sort and save.

    Parameters
    ----------
    heads : list of str
    lines : list of str
        Rows as HTML.
    name : str
        Its name to screen readers, and of its file.
    texts : collection of str, default=()
        Heads of columns of text; other columns are numbers.
    """
    head = "".join(
        f'<th scope="col"{" class=t" if h in texts else ""}><button type="button">{h}</button></th>' for h in heads
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}, table"><table class="sortable" '
        f'data-file="{name.lower().replace(" ", "-")}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def figure(drawn, caption, name):
    """Return a figure that the script can save."""
    return f'<figure data-file="{name}">{drawn}<figcaption>{caption}</figcaption></figure>'
