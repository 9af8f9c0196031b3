"""Curves of a training as SVG that stands in the page and takes its colours."""

import csv
import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

CLOCK = "n_images"
INK, LINE = "#010203", "#040506"  # stand-ins, replaced by the page's own colours in light and dark
PANELS = 3  # in a row

Points = list[tuple[float, float]]


def read_curves(path: Path) -> dict[str, Points]:
    """(n_images, value) by column of a curves file; empty cells are left out, and columns without any value."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in (rows[0] if rows else {}) if name != CLOCK]
    curves = {name: [(float(row[CLOCK]), float(row[name])) for row in rows if row[name]] for name in columns}
    return {name: points for name, points in curves.items() if points}


def draw_curves(curves: dict[str, Points], salt: str) -> str:
    """An <svg> element with a panel for each column; `salt` keeps the ids of two drawings in one page apart."""
    lines = -(-len(curves) // PANELS)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(10, 2.3 * lines), layout="constrained")
        for place, (name, points) in enumerate(curves.items(), start=1):
            _draw_panel(figure.add_subplot(lines, PANELS, place), name.replace("_", " "), points)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor").replace(LINE, "var(--accent)")


def _draw_panel(axes: Axes, title: str, points: Points) -> None:
    marker = "o" if len(points) < 20 else ""
    axes.plot(*zip(*points, strict=True), color=LINE, linewidth=1.4, marker=marker, markersize=3)
    axes.set_title(title, color=INK, loc="left", fontsize=10)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)
