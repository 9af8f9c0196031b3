"""Small plots as SVG that stand in the page, take its colours, and tell the page's script where their points lie."""

import io
import json
import math
import re
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from tasks.metrics.registry import format_metric

INK, FIRST, SECOND = "#010203", "#040506", "#070809"  # stand-ins for the page's own colours in light and dark
COLOURS = {INK: "currentColor", FIRST: "var(--accent)", SECOND: "var(--second)"}
SIZE = (4.2, 2.5)  # inches, of which the page makes what width there is
BINS = 250  # of a line with more points than can be seen, the lowest and the highest of each bin are kept

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """Points that belong together, in one of the stand-in colours."""

    name: str
    points: Points
    colour: str = FIRST
    marker: str = "o"


@dataclass(frozen=True)
class Plot:
    """Lines on common axes; `levels` are named heights, `backwards` puts small x to the right."""

    title: str
    about: str  # what lies along x
    lines: list[Line]
    levels: dict[str, float] = field(default_factory=dict)
    log: bool = False
    span: tuple[float, float] | None = None  # of y; none: what the lines need
    backwards: bool = False


@dataclass(frozen=True)
class Panel:
    """A drawn plot: its <svg> element, and as JSON each line's points as fractions of its size with what they say."""

    title: str
    about: str
    svg: Markup
    lines: str


def draw(plot: Plot, salt: str) -> Panel:
    """`salt` keeps the ids of two drawings in one page apart."""
    lines = [Line(line.name, thinned(line.points), line.colour, line.marker) for line in plot.lines]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=SIZE, dpi=72, layout="constrained")  # 72 dots are what SVG is laid out with
        axes = figure.add_subplot()
        _draw(axes, plot, lines)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    places = [{"name": line.name, "points": _places(axes, line.points)} for line in lines]
    return Panel(plot.title, plot.about, _inline(text.getvalue(), plot), json.dumps(places, separators=(",", ":")))


def thinned(points: Points) -> Points:
    """Points without those that no eye could tell apart; peaks and dips stay."""
    if len(points) <= 2 * BINS:
        return points
    width = -(-len(points) // BINS)
    bins = [points[start : start + width] for start in range(0, len(points), width)]
    kept = [sorted({min(some, key=lambda at: at[1]), max(some, key=lambda at: at[1])}) for some in bins]
    return [point for some in kept for point in some]


def _draw(axes: Axes, plot: Plot, lines: list[Line]) -> None:
    for line in lines:
        marker = line.marker if len(line.points) < 20 else ""
        axes.plot(*zip(*line.points, strict=True), color=line.colour, linewidth=1.4, marker=marker, markersize=3.5)
    for place, (name, height) in enumerate(plot.levels.items()):
        axes.axhline(height, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        at, side = ((0.01, "left"), (0.99, "right"))[place % 2]  # two of like height do not write over each other
        axes.text(at, height, name, color=INK, fontsize=8, ha=side, va="bottom", transform=axes.get_yaxis_transform())
    if plot.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if plot.span:
        axes.set_ylim(*plot.span)
    if plot.backwards:
        axes.invert_xaxis()
    _dress(axes)


def _dress(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep="") if axes.get_xlim()[1] > 1000 else FuncFormatter(_plain))
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.tick_params(which="minor", colors=INK, length=1.5)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)


def _plain(value: float, _: int | None = None) -> str:
    return f"{value:g}"


def _places(axes: Axes, points: Points) -> list[tuple[float, float, str, str]]:
    """Each point from the left and from the top, as fractions of the drawing, and its x and y in words."""
    figure = axes.figure
    real = [(x, y) for x, y in points if math.isfinite(y)]
    at = figure.transFigure.inverted().transform(axes.transData.transform(np.reshape(real, (-1, 2))))
    words = [(EngFormatter(sep="")(x) if x > 1000 else _plain(x), format_metric(y)) for x, y in real]
    return [(round(float(left), 4), round(1 - float(up), 4), *said) for (left, up), said in zip(at, words, strict=True)]


def _inline(svg: str, plot: Plot) -> Markup:
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg[svg.index("<svg") :])  # names that each drawing has
    for stand_in, colour in COLOURS.items():
        svg = svg.replace(stand_in, colour)
    label = escape(f"{plot.title} against {plot.about}")
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))  # our own, escaped by matplotlib
