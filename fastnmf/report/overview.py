"""Write the first screen of the page: what the data are, what was found, and whether it can be trusted."""

from fastnmf.report.lists import joined
from fastnmf.report.markup import counted, listed, number, percent, text, topic_link

_STOPPED = {
    "max_iter": "The fit reached <code>max_iter</code> before its loss had converged: more iterations may change",
    "max_time": "The fit reached <code>max_time</code> before its loss had converged: more time may change",
    "callback": "A callback stopped the fit before its loss had converged: more iterations may change",
}
ALIKE = 0.8  # two topics with at least this cosine count as nearly the same
SIMPLE = ("for each group", "the groups alone", "the factors alone", "the design alone")  # models without topics
_SMALL = 0.3  # share of the squared norm of sparse data whose meaning has to be said
_GAIN = 1.02  # factor by which a model must explain more than the means of the groups


def overview(facts):
    """Return the section."""
    checks = _checks(facts)
    to_see = sum(level != "good" for level, _ in checks)
    answer = "Nothing that was checked speaks against it." if not to_see else counted(to_see, "point", "points")
    answer += "" if not to_see else " to look at:"
    marks = {"good": "✓", "look": "!"}
    items = "".join(
        f'<li class="{level}"><span class="mark" aria-hidden="true">{marks[level]}</span> {sentence}</li>'
        for level, sentence in sorted(checks, key=lambda check: check[0] == "good")
    )
    parts = [
        '<div class="three">'
        f"<div><h3>What are the data?</h3>{_data(facts)}</div>"
        f"<div><h3>What was found?</h3>{_found(facts)}</div>"
        f'<div class="trust"><h3>Can it be trusted?</h3><p>{answer}</p><ul class="checks">{items}</ul></div>'
        f'<div class="much">{_explained(facts)}</div></div>',
        *(f'<p class="note">{text(note)}</p>' for note in facts.notes),
        f"<details><summary>How to read this page</summary>{_guide(facts)}</details>",
    ]
    return "".join(parts)


def lede(facts):
    """Return the sentence below the heading."""
    words = facts.wording
    topics = counted(len(facts.topics), words.topic, words.topics)
    size = counted(facts.n_features, words.feature, words.features)
    if facts.n_rows is not None:
        size = f"{counted(facts.n_rows, words.row, words.rows)} and {size}"
    if facts.shifts_kind == "crossed":
        each = [f"<bdi>{text(f.name)}</bdi> ({counted(f.n_levels, 'level', 'levels')})" for f in facts.factors]
        return f"{size}, crossed by {listed(each)}: {topics} that all share, and what each level adds."
    if facts.shifts_kind == "matrix":
        return f"{size}: {topics}, and a shift for each of the {number(facts.n_strata)} columns of a design."
    if facts.n_strata > 1:
        own = f", {number(len(facts.own))} of single groups" if facts.own and not facts.is_tied else ""
        return (
            f"{size}, in {number(facts.n_strata)} groups: {topics} that all groups share{own}, and what is specific to "
            "each."
        )
    if facts.tree:
        return f"{size}, described by a hierarchy: {topics}, in {len(facts.tree)} at the top."
    return f"{size}, described by {topics}."


def _data(facts):
    words = facts.wording
    size = counted(facts.n_features, words.feature, words.features)
    if facts.n_rows is not None:
        size = f"{counted(facts.n_rows, words.row, words.rows)} with {size}"
    groups = f", in {number(facts.n_strata)} groups (strata)" if facts.n_strata > 1 else ""
    if facts.shifts_kind == "crossed":
        each = [f"one of {number(f.n_levels)} levels of <bdi>{text(f.name)}</bdi>" for f in facts.factors]
        groups = f". Every {words.row} has {listed(each)}"
    elif facts.shifts_kind == "matrix":
        groups = f", and a design of {counted(facts.n_strata, 'column', 'columns')}"
    parts = [f"{size}{groups}."]
    if facts.n_nonzeros is not None and facts.n_rows:
        filled = facts.n_nonzeros / (facts.n_rows * facts.n_features)
        parts.append(f"{number(facts.n_nonzeros)} entries are not zero, {percent(filled, 1 if filled > 0.001 else 3)}.")
    if facts.per_row is not None and facts.is_sparse:
        parts.append(
            f"Half of the {words.rows} have {number(round(facts.per_row))} different {words.features} or more."
        )
    sized = [stratum for stratum in facts.strata if stratum.n_rows is not None]
    if len(sized) > 1 and facts.shifts_kind == "strata":
        largest, smallest = max(sized, key=lambda s: s.n_rows), min(sized, key=lambda s: s.n_rows)
        if largest.n_rows == smallest.n_rows:
            parts.append(f"Each group has {counted(largest.n_rows, words.row, words.rows)}.")
        else:
            parts.append(
                f"The largest group is <bdi>{text(largest.label)}</bdi> with {number(largest.n_rows)}, the smallest "
                f"<bdi>{text(smallest.label)}</bdi> with {number(smallest.n_rows)}."
            )
    return f"<p>{' '.join(parts)}</p>"


def _found(facts):
    words, parts = facts.wording, []
    alive = [topic for topic in facts.topics if not topic.is_dead]
    known = sorted((t for t in alive if t.share is not None), key=lambda t: -t.share)
    if known:
        first = [f"{topic_link(topic)} ({percent(topic.share, 0)})" for topic in known[:3]]
        if len(known) > 3:
            parts.append(f"The largest of the {len(facts.topics)} {words.topics}: {listed(first)}.")
        else:
            parts.append(f"{counted(len(known), words.topic, words.topics).capitalize()}: {listed(first)}.")
    else:
        parts.append(f"{counted(len(facts.topics), words.topic, words.topics).capitalize()}, listed below.")
    if facts.shifts_kind in ("crossed", "matrix"):
        parts += _of_factors(facts)
    elif len(facts.strata) > 1:
        said = [
            f'<a href="#stratum-{at}"><bdi>{text(s.label)}</bdi></a> (<span class="w">{text(s.most_specific)}</span>)'
            for at, s in enumerate(facts.strata)
            if s.most_specific
        ]
        if said:
            parts.append(
                f"Each group has {words.features} of its own, its shift, whatever the {words.topics} of its "
                f"{words.rows}: {listed(said[:3])}{' and others' if len(said) > 3 else ''}."
            )
        if facts.strata[0].usage is not None and len(facts.topics) > 1:
            marked = [stratum for stratum in facts.strata if stratum.marked_by is not None]
            if len(marked) == len(facts.strata):
                count = "Each group uses"
            elif marked:
                count = f"{len(marked)} of {len(facts.strata)} groups {'use' if len(marked) > 1 else 'uses'}"
            else:
                count = "No group uses"
            rest = "" if marked else ", or for a large part"
            parts.append(f"{count} one of the {words.topics} far more than others do{rest}.")
    owning = [(at, stratum) for at, stratum in enumerate(facts.strata) if stratum.own]
    if owning:
        said = [
            f'<a href="#stratum-{at}"><bdi>{text(s.label)}</bdi></a> (<span class="w">'
            f"{text(joined(s.own[0].words.names[:3]))}</span>)"
            for at, s in owning[:3]
        ]
        what = f"components of their own, beside the shared {words.topics}"
        what = f"their own variants of the {words.topics}" if facts.is_tied else what
        parts.append(f"Groups have {what}: {listed(said)}{' and others' if len(owning) > 3 else ''}.")
    return "".join(f"<p>{part}</p>" for part in parts)


def _of_factors(facts):
    """Return sentences on what factors change, and by which topics levels differ."""
    words, parts = facts.wording, []
    for at, factor in enumerate(facts.factors):
        if factor.n_levels < 2 or not factor.features:
            continue
        features = f'<span class="w">{text(joined(factor.features[:3]))}</span>'
        what = "The columns of the design differ"
        if facts.shifts_kind == "crossed":
            what = f'The levels of <a href="#factor-{at}"><bdi>{text(factor.name)}</bdi></a> differ'
        parts.append(f"{what} most in the {words.features} {features}, whatever the {words.topics}.")
    return parts


def _checks(facts):
    """Return pairs ("good" or "look", sentence)."""
    words, found = facts.wording, []
    stopped, loss = facts.numbers["stopped_by_"], facts.numbers["normalized_loss_"]
    if stopped in _STOPPED and facts.numbers["converged_"] is False:
        found.append(("look", f"{_STOPPED[stopped]} the {words.topics}."))
    elif facts.numbers["converged_"]:
        found.append(("good", "The fit has converged: more iterations would hardly lower its loss."))
    dead = [topic for topic in facts.topics if topic.is_dead]
    if dead:
        numbers = listed([f'<a href="#topic-{t.number}">{t.number}</a>' for t in dead])
        found.append(("look", f"Dead {words.topics}, which no {words.row} uses: {numbers}. Fit fewer."))
    pairs = {tuple(sorted((t.number, t.nearest))): t.similarity for t in facts.topics if t.similarity >= ALIKE}
    if pairs:
        alike = ", ".join(
            f'<a href="#topic-{a}">{a}</a> and <a href="#topic-{b}">{b}</a> (cosine {cosine:.2f})'
            for (a, b), cosine in sorted(pairs.items())
        )
        found.append(
            ("look", f"{words.topics.capitalize()} that are nearly the same: {alike}. Merge them, or fit fewer.")
        )
    if not dead and not pairs and len(facts.topics) > 1:
        found.append(("good", f"No {words.topic} is dead, and no two are nearly the same."))
    found += _flagged(facts)
    if facts.verdict:
        answer, colon, reason = facts.verdict.partition(":")
        level = "look" if answer == "No" else "good"
        found.append((level, f"Do these data need their groups? <strong>{text(answer + colon)}</strong>{text(reason)}"))
    for name, needed, gain, chance in facts.removed:
        level = "look" if needed == "No" else "good"
        found.append(
            (
                level,
                f"Do these data need <bdi>{text(name)}</bdi>? <strong>{needed}</strong>: it removes {_small(gain)} of "
                f"the error that is left without it (noise would: {_small(chance)}).",
            )
        )
    simple, means = next((pair for pair in facts.alternatives if pair[0].endswith(SIMPLE)), ("", None))
    does, leaves = ("do", "leave") if simple.endswith("s alone") else ("does", "leaves")
    if means is not None and means > 0:
        own = 1 - loss**2
        if own < _GAIN * means and 1 - own > (1 - means) / _GAIN:
            found.append(
                (
                    "look",
                    f"The model explains hardly more than {simple} {does} ({percent(own)} and {percent(means)}): fit "
                    f"more {words.topics}.",
                )
            )
        else:
            gain = f"explains {number(own / means, 2)} times what {simple} {does}"
            if 0.5 < means < 1:
                gain = f"leaves {percent((1 - own) / (1 - means), 0)} of the error that {simple} {leaves}"
            found.append(("good", f"The model {gain}."))
    if facts.numbers["n_revived_"]:
        times = counted(facts.numbers["n_revived_"], "time", "times")
        found.append(("look", f"One of the {words.topics} died and was reseeded {times} during the fit."))
    if not facts.has_data:
        found.append(("look", "This page was written without the data: with <code>X=</code> it checks much more."))
    elif facts.is_designed and not facts.knows_rows:
        needed = "design" if facts.shifts_kind == "matrix" else "strata"
        found.append(
            (
                "look",
                f"This page was written without what each {words.row} has: with <code>{needed}=</code>, as in the fit, "
                "it tells what the shifts are worth.",
            )
        )
    return found


def _small(share):
    """Return a share as a percentage, with one more digit where it is small."""
    return percent(share, 1 if share >= 0.01 else 2)


def _flagged(facts):
    words, found = facts.wording, []
    group = "level" if facts.shifts_kind == "crossed" else "group"
    for parts, one, many, key in (
        (facts.topics, words.topic, words.topics, "topic"),
        (facts.strata, group, f"{group}s", "stratum"),
    ):
        for kind in ("repeated text", "function words"):
            links = [
                f'<a href="#{key}-{part.number if key == "topic" else at}">'
                f"<bdi>{text(part.number if key == 'topic' else part.label)}</bdi></a>"
                for at, part in enumerate(parts)
                if any(flag == kind for flag, _ in part.flags)
            ]
            if links:
                whose = f"{(one if len(links) == 1 else many).capitalize()} {listed(links)}"
                found.append(("look", f"{whose}: {flag_sentence(kind, words)}"))
    return found


def flag_sentence(kind, words):
    """Return what a flag of a topic or a stratum means, and what to do."""
    if kind == "repeated text":
        return (
            f"repeated text. The {words.rows} that use it most are near copies of each other: keep one of them, and "
            "fit again."
        )
    return (
        f"{words.features} that are common in all kinds of {words.rows}, and no subject: leave these {words.features} "
        "out, and fit again."
    )


def _explained(facts):
    loss = facts.numbers["normalized_loss_"]
    if loss is None or facts.loss_name == "own":
        return ""
    words, own = facts.wording, 1 - loss**2
    if facts.is_squared:
        said = (
            f"The model explains <strong>{percent(own)}</strong> of the squared norm, the sum of all squared entries"
            f"{'' if facts.parameters.get('missing_values') is None else ' that are known'}."
        )
        if facts.is_sparse and own < _SMALL:
            said += (
                f" A small share is usual for sparse data: most of the squared norm of a {words.row} comes from "
                f"{words.features} that few other {words.rows} have, and {number(len(facts.topics))} {words.topics} "
                "cannot explain these. What counts is the comparison with simpler models."
            )
    elif facts.loss_name == "kullback-leibler":
        said = (
            f"The model explains <strong>{percent(own)}</strong> of the deviance: of the Kullback-Leibler divergence "
            f"from the null model, in which every {words.row} is the mean {words.row}, more or less of it."
        )
        if facts.is_sparse and own < 1 - _SMALL:
            said += (
                " The rest is not all missed structure: single counts scatter around any model. What counts is the "
                "comparison with simpler models."
            )
    else:
        said = (
            f"The model explains <strong>{percent(own)}</strong> of the {text(facts.loss_name)} divergence from the "
            "trivial model."
        )
    if len(facts.alternatives) < 2:
        return f"<h3>How much does it explain?</h3><p>{said}</p>"
    largest = max(share for _, share in facts.alternatives) or 1
    items = "".join(
        f'<li style="--v:{max(share, 0) / largest:.3f}"{" class=own" if name == "this model" else ""}>'
        f'<span class="a">{text(name[:1].upper() + name[1:])}</span>'
        f'<span class="n">{percent(share) if share >= 0 else "below 0"}</span></li>'
        for name, share in facts.alternatives
    )
    return (
        f"<h3>How much does it explain?</h3><p>{said}</p>"
        f'<ol class="bars shares alternatives" aria-label="Share explained, by model">{items}</ol>'
    )


def _guide_of_shifts(facts):
    """Return what the page says of shifts."""
    words, group = facts.wording, "level" if facts.shifts_kind == "crossed" else "group"
    usage = (
        f"<b>The share of a {words.topic} in a {group}</b> is its part in the sum of all {words.topics} over the "
        f"{words.rows} of that {group}; the shares of a {group} add up to 100&#8239;%. Its lift is this share divided "
        f"by that in all {words.rows}. A {group} is marked by a {words.topic} with a lift of 1.5 or more and a share "
        "of 5&#8239;% or more."
    )
    if facts.shifts_kind == "strata":
        return [
            f"<b>The shift of a group</b> is the part that all its {words.rows} have in common, whatever their "
            f"{words.topics}.",
            usage,
            f"<b>Caution.</b> The model does not fully determine the split between shifts and {words.topics}: parts "
            f"can be exchanged as long as both stay non-negative. The order of {words.features} is more reliable than "
            "the size of bars.",
        ]
    first = (
        f"<b>A shift</b> is what all {words.rows} have in common that have a column of the design, times its entry, "
        f"whatever their {words.topics}."
    )
    if facts.shifts_kind == "crossed":
        first = (
            f"<b>The shift of a {words.row}</b> is the sum of the intercept and of the effect of its level of each "
            f"factor, whatever its {words.topics}. An effect is what a level has more than the least level of its "
            f"factor, {words.feature} by {words.feature}: the intercept holds the rest."
        )
    return [
        first,
        *((usage,) if facts.shifts_kind == "crossed" and facts.knows_rows else ()),
        f"<b>Do these data need a factor?</b> The shifts of the others are fitted again without it, for the same "
        f"{words.topics}; the answer compares the error that is then left with that of the model, and with what as "
        "many numbers would remove from pure noise.",
        f"<b>Caution.</b> What all {words.rows} of a level use of a {words.topic} may count as an effect of the level.",
    ]


def _guide(facts):
    words = facts.wording
    lines = [
        f"<b>A {words.topic}</b> is a list of {words.features} that occur together, with weights. A {words.row} is a "
        f"weighted sum of {words.topics}. They have numbers, whose order has no meaning, and their first "
        f"{words.features} serve as names; <i>Rename</i> gives them names of your own.",
        f"<b>The order of {words.features}</b> is their relevance: the slider goes from <i>specific</i>, the "
        f"{words.features} that are rare elsewhere, to <i>frequent</i>, those with the largest weights. A bar is the "
        f"weight. The number with × is the lift: how many times more frequent the {words.feature} is here than in all "
        "data (Sievert and Shirley 2014).",
    ]
    if facts.n_strata > 1:
        lines += _guide_of_shifts(facts)
    if facts.own and not facts.is_tied:
        lines.append(
            f"<b>A {words.topic} of a single group</b> is one that only the {words.rows} of this group use; its share "
            f"is that in the sum of all {words.topics} over these {words.rows}."
        )
    elif facts.own:
        lines.append(
            f"<b>What a group adds to a {words.topic}</b>: its {words.rows} use the {words.topic} and this part with "
            f"the same weight. The {words.topics} that change most are shown."
        )
    if facts.has_data:
        lines.append(
            f"<b>Examples</b> are the {words.rows} with the largest cosine to a {words.topic}"
            f"{' or shift' if facts.n_strata > 1 else ''}, among those with as many {words.features} as the median "
            f"{words.row} or more; of equal ones the first is shown."
        )
    lines.append(f"{words.rows.capitalize()} are counted from 0.")
    return "".join(f"<p>{line}</p>" for line in lines)
