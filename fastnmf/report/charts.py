"""Draw curves and maps as SVG text for the report; the style sheet of the page sets the colours."""

import math

import numpy as np

WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 34
MOST_POINTS = 300
MAP_SIDE, LEAST_RADIUS = 520, 9.0
# beside lines for their names, above them for that of y, letters, two names, a piece of a line before its name
ROOM, HEAD, LONGEST, LINE, KEY = 148, 20, 17, 15, 14


def curve(x, y, x_name, y_name, summary):
    """Return an SVG of y against x with labelled axes; y is logarithmic if it spans more than a factor of ten.

    Parameters
    ----------
    x, y : ndarray (n,)
        Points that are not finite are left out. Of more than 300 points, 300 evenly spaced ones are drawn.
    x_name, y_name : str
        Labels of the axes.
    summary : str
        Description of the curve for screen readers.

    Returns
    -------
    str
        Empty if there are fewer than two points.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    is_finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[is_finite], y[is_finite]
    if len(x) < 2:
        return ""
    if len(x) > MOST_POINTS:
        at = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))
        x, y = x[at], y[at]
    is_log = y.min() > 0 and y.max() > 10 * y.min()
    y_ticks = _log_ticks(y.min(), y.max()) if is_log else _ticks(y.min(), y.max())
    x_ticks = [(value, f"{value:.6g}") for value in _ticks(x.min(), x.max())]
    parts, px, py = _axes(x, [y], x_ticks, y_ticks, (x_name, y_name), summary, to_y=np.log10 if is_log else np.asarray)
    points = " ".join(f"{px(a):.1f},{py(b):.1f}" for a, b in zip(x, y, strict=True))
    return "".join([*parts, f'<polyline points="{points}"/></svg>'])


def lines(x, courses, x_ticks, x_name, y_name, summary):
    """Return an SVG of several lines over x, each with its own dashes, and its name beside a piece of it.

    Parameters
    ----------
    x : ndarray (n,)
        Ascending.
    courses : list of (str, ndarray (n,))
        Names as text without a meaning in HTML, and values; at most five.
    x_ticks : list of (float, str), or None
        Marks of x; None: round numbers, integers if all of x are.
    x_name, y_name, summary : str
        As for `curve`.

    Returns
    -------
    str
        Empty if there are fewer than two points.
    """
    x = np.asarray(x, dtype=np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        return ""
    if x_ticks is None:
        are_integers = bool((x == np.round(x)).all())
        x_ticks = [(v, f"{v:.6g}") for v in _ticks(x[0], x[-1]) if not are_integers or v == round(v)]
    values = [np.asarray(course, dtype=np.float64) for _, course in courses]
    low, high = (min(0.0, *(v.min() for v in values)), max(v.max() for v in values))
    names = (x_name, y_name)
    parts, px, py = _axes(x, values, x_ticks, _ticks(low, high), names, summary, right=ROOM, head=HEAD)
    ends = _spread([py(v[-1]) for v in values], TOP + HEAD, HEIGHT - BOTTOM)
    for number, ((name, _), v, end) in enumerate(zip(courses, values, ends, strict=True)):
        points = " ".join(f"{px(a):.1f},{py(b):.1f}" for a, b in zip(x, v, strict=True))
        parts.append(f'<polyline class="line{number}" points="{points}"><title>{name}</title></polyline>')
        short = name if len(name) <= LONGEST or "&" in name else name[: LONGEST - 1] + "…"
        at = WIDTH - ROOM + 6
        parts.append(f'<path class="line{number}" d="M{at} {end:.1f}h{KEY}"/>')
        parts.append(f'<text class="line{number}" x="{at + KEY + 5}" y="{end + 4:.1f}">{short}</text>')
    return "".join([*parts, "</svg>"])


def _axes(x, values, x_ticks, y_ticks, names, summary, *, right=RIGHT, head=0, to_y=np.asarray):
    """Return the beginning of an SVG with axes, and the functions from x and from y to its units.

    Parameters
    ----------
    x : ndarray (n,)
    values : list of ndarray
    x_ticks : list of (float, str)
    y_ticks : list of float
    names : (str, str)
        Of x and y.
    summary : str
    right : float, default=12
        Room to the right of the lines.
    head : float, default=0
        Room above them for the name of y, which else lies within.
    to_y : function, default=np.asarray
        The scale of y.
    """
    least, most = min(v.min() for v in values), max(v.max() for v in values)
    low, high = (float(to_y(f([*y_ticks, value]))) for f, value in ((np.min, least), (np.max, most)))
    span_x, span_y = (x.max() - x.min()) or 1.0, (high - low) or 1.0
    px = lambda v: LEFT + (WIDTH - LEFT - right) * (v - x.min()) / span_x  # noqa: E731
    top = TOP + head
    py = lambda v: top + (HEIGHT - top - BOTTOM) * (high - to_y(v)) / span_y  # noqa: E731
    parts = [f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{summary}">']
    for value in y_ticks:
        at = py(value)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    for value, label in x_ticks:
        parts.append(f'<text x="{px(value):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{WIDTH - right}" y="{HEIGHT - 2}" text-anchor="end">{names[0]}</text>')
    parts.append(f'<text x="{LEFT if head else LEFT + 8}" y="{TOP if head else TOP + 10}">{names[1]}</text>')
    return parts, px, py


def _spread(at, low, high):
    """Return places of labels near those wanted, in their order, at least `LINE` apart, between `low` and `high`."""
    order, found = np.argsort(at, kind="stable"), np.empty(len(at))
    y = low - LINE
    for place in order:
        y = found[place] = max(at[place], y + LINE)
    y = high + LINE
    for place in order[::-1]:
        y = found[place] = min(found[place], y - LINE)
    return found.tolist()


def _ticks(low, high):
    """Return about five round numbers from low to high."""
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{k * step:.10g}") for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low, high):
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 5)
    return [10.0**power for power in range(first, last + 1, every)]


def bubbles(places, shares, names, summary):
    """Return an SVG of circles, each a link to the card of its topic, the smallest in front.

    Parameters
    ----------
    places : sequence of (float, float)
        Coordinates of the topics.
    shares : sequence of float
        Areas, in any unit; all zero: equal areas.
    names : sequence of (int, str)
        Numbers of the topics, and names as text without a meaning in HTML.
    summary : str
        Description of the map for screen readers.

    Returns
    -------
    str
    """
    places, shares = np.asarray(places, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    shares = shares if shares.max(initial=0) > 0 else np.ones(len(shares))
    # The circles cover an eighth of the map together, so that few lie upon each other.
    radii = np.maximum(np.sqrt(shares / shares.sum() * MAP_SIDE**2 / 8 / math.pi), LEAST_RADIUS)
    edge = min(radii.max() + 6, MAP_SIDE / 3)
    middle, spread = (places.max(axis=0) + places.min(axis=0)) / 2, np.ptp(places, axis=0).max() or 1.0
    at = MAP_SIDE / 2 + (places - middle) * [1, -1] / spread * (MAP_SIDE - 2 * edge)
    drawn = []
    for c in np.argsort(-radii, kind="stable"):
        topic, name = names[c]
        drawn.append(
            f'<a href="#topic-{topic}" data-topic="{topic}"><title>{topic} {name}</title>'
            f'<circle cx="{at[c, 0]:.1f}" cy="{at[c, 1]:.1f}" r="{radii[c]:.1f}"/>'
            f'<text x="{at[c, 0]:.1f}" y="{at[c, 1] + 4:.1f}" text-anchor="middle">{topic}</text></a>'
        )
    axes = f'<path class="grid" d="M0 {MAP_SIDE / 2}H{MAP_SIDE}M{MAP_SIDE / 2} 0V{MAP_SIDE}"/>'
    return (
        f'<svg class="bubbles" viewBox="0 0 {MAP_SIDE} {MAP_SIDE}" role="group" aria-label="{summary}">'
        f"{axes}{''.join(drawn)}</svg>"
    )
