"""Write the cards of topics and groups, and the slider that orders the features of all lists."""

from fastnmf.report.lists import LAMBDA
from fastnmf.report.overview import flag_sentence

MANY = 40  # cards of which a browser lays out those in sight only
MEASURES = '<span class="n">weight</span><span class="x">lift</span>'


def slider(facts, key):
    """Return the slider that orders the features of all lists; there is one in each section that has lists."""
    words = facts.wording
    return (
        f'<p class="slider" data-needs-script hidden><label for="order-{key}">Order of {words.features}</label>'
        f'<span>specific <input type="range" id="order-{key}" min="0" max="1" step="0.1" value="{LAMBDA}"> frequent'
        f'</span><output for="order-{key}">λ = {LAMBDA}</output></p>'
    )


def card(key, item, head, about, flags, columns, rest):
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


def flags_of(part, wording):
    found = [flag_sentence(kind, wording) for kind, _ in part.flags]
    return [sentence[0].upper() + sentence[1:] for sentence in found]
