"""Curves of a training, a panel for each column of its file."""

import csv
from pathlib import Path

from tasks.report.plots import Line, Panel, Plot, Points, draw

CLOCK = "n_images"


def read_curves(path: Path) -> dict[str, Points]:
    """(n_images, value) by column of a curves file; empty cells are left out, and columns without any value."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in (rows[0] if rows else {}) if name != CLOCK]
    curves = {name: [(float(row[CLOCK]), float(row[name])) for row in rows if row[name]] for name in columns}
    return {name: points for name, points in curves.items() if points}


def draw_curves(curves: dict[str, Points], salt: str) -> list[Panel]:
    """A panel for each; `salt` keeps two trainings in one page apart."""
    named = [(name, name.replace("_", " "), points) for name, points in curves.items()]
    plots = {name: Plot(title, "images seen", [Line(title, points)]) for name, title, points in named}
    return [draw(plot, f"{salt} {name}") for name, plot in plots.items()]
