"""Small plots as inline SVG in the page's colours, with their points as JSON for the page's script."""

import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from tasks.metrics.registry import format_metric

INK, FIRST, SECOND = "#010203", "#040506", "#070809"  # placeholders: the page's colours depend on light and dark mode
COLOURS = {INK: "currentColor", FIRST: "var(--accent)", SECOND: "var(--second)"}
SIZE = (4.2, 2.5)  # inches; the page scales the plot to its column
BINS = 250  # a line with more than two points per bin keeps the lowest and the highest of each bin
STEP_COLUMN = "n_images"  # of a curves file

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A named line, in one of the placeholder colours."""

    name: str
    points: Points
    colour: str = FIRST
    marker: str = "o"


@dataclass(frozen=True)
class Plot:
    """Lines on common axes; `levels` are named horizontal lines, `backwards` puts small x to the right."""

    title: str
    x_label: str
    lines: list[Line]
    levels: dict[str, float] = field(default_factory=dict)
    log: bool = False
    span: tuple[float, float] | None = None  # of y; None: that of the lines
    backwards: bool = False


@dataclass(frozen=True)
class Panel:
    """A rendered plot: its <svg> element, and as JSON each line's points as fractions of its size with their values."""

    title: str
    x_label: str
    svg: Markup
    lines: str


def draw(plot: Plot, salt: str) -> Panel:
    """Renders a plot; `salt` makes the ids of two plots on one page different."""
    lines = [Line(line.name, thinned(line.points), line.colour, line.marker) for line in plot.lines]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=SIZE, dpi=72, layout="constrained")  # SVG has 72 dots per inch
        axes = figure.add_subplot()
        _draw(axes, plot, lines)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    positions = [{"name": line.name, "points": _positions(axes, line.points)} for line in lines]
    return Panel(plot.title, plot.x_label, _inline(svg.getvalue(), plot), json.dumps(positions, separators=(",", ":")))


def read_curves(path: Path) -> dict[str, Points]:
    """Reads (n_images, value) by column of a curves file, without empty cells and empty columns."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in (rows[0] if rows else {}) if name != STEP_COLUMN]
    curves = {name: [(float(row[STEP_COLUMN]), float(row[name])) for row in rows if row[name]] for name in columns}
    return {name: points for name, points in curves.items() if points}


def draw_curves(curves: dict[str, Points], salt: str) -> list[Panel]:
    """Renders a panel for each curve; `salt` makes the ids of two trainings different."""
    lines = {name: Line(name.replace("_", " "), points) for name, points in curves.items()}
    return [draw(Plot(line.name, "images seen", [line]), f"{salt} {name}") for name, line in lines.items()]


def thinned(points: Points) -> Points:
    """Returns at most 2 * BINS of the points; peaks and dips stay."""
    if len(points) <= 2 * BINS:
        return points
    width = -(-len(points) // BINS)
    bins = [points[start : start + width] for start in range(0, len(points), width)]
    kept = [sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}) for part in bins]
    return [point for part in kept for point in part]


def _draw(axes: Axes, plot: Plot, lines: list[Line]) -> None:
    for line in lines:
        marker = line.marker if len(line.points) < 20 else ""
        axes.plot(*zip(*line.points, strict=True), color=line.colour, linewidth=1.4, marker=marker, markersize=3.5)
    for i, (name, height) in enumerate(plot.levels.items()):
        axes.axhline(height, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        x, side = ((0.01, "left"), (0.99, "right"))[i % 2]  # so that labels of similar height do not overlap
        axes.text(x, height, name, color=INK, fontsize=8, ha=side, va="bottom", transform=axes.get_yaxis_transform())
    if plot.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if plot.span:
        axes.set_ylim(*plot.span)
    if plot.backwards:
        axes.invert_xaxis()
    _style(axes)


def _style(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep="") if axes.get_xlim()[1] > 1000 else "{x:g}")
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.tick_params(which="minor", colors=INK, length=1.5)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)


def _positions(axes: Axes, points: Points) -> list[tuple[float, float, str, str]]:
    """Returns each finite point from the left and the top, as fractions of the plot, and its x and y as text."""
    figure = axes.figure
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    places = figure.transFigure.inverted().transform(axes.transData.transform(np.reshape(finite, (-1, 2))))
    texts = [(EngFormatter(sep="")(x) if x > 1000 else f"{x:g}", format_metric(y)) for x, y in finite]
    return [(round(float(x), 4), round(1 - float(y), 4), *text) for (x, y), text in zip(places, texts, strict=True)]


def _inline(svg: str, plot: Plot) -> Markup:
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg[svg.index("<svg") :])  # the same in every plot
    for placeholder, colour in COLOURS.items():
        svg = svg.replace(placeholder, colour)
    label = escape(f"{plot.title} against {plot.x_label}")
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))  # matplotlib has escaped it
