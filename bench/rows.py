"""The results of a measurement: rows of {figure, value, unit, required, reached}, as a table and as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One result; `reached` is None where nothing is required, or where this machine cannot measure it."""

    figure: str
    value: float | None
    unit: str = ""
    required: str = ""
    reached: bool | None = None


def at_most(figure: str, value: float | None, bound: float, unit: str = "") -> Row:
    """Returns a row with an upper bound; the value is None where it could not be measured."""
    return Row(figure, value, unit, f"at most {bound:g}", None if value is None else value <= bound)


def at_least(figure: str, value: float | None, bound: float, unit: str = "") -> Row:
    """Returns a row with a lower bound; the value is None where it could not be measured."""
    return Row(figure, value, unit, f"at least {bound:g}", None if value is None else value >= bound)


def publish(rows: list[Row], file: Path | None) -> None:
    """Prints the table, and writes it as JSON where a file is named."""
    width = max((len(row.figure) for row in rows), default=0)
    for row in rows:
        value = "unmeasured" if row.value is None else f"{row.value:,.4g}" if row.value < 1000 else f"{row.value:,.0f}"
        verdict = {None: "", True: "yes", False: "NO"}[row.reached]
        print(f"{row.figure:{width}s}  {value:>12s} {row.unit:9s} {row.required:17s} {verdict}".rstrip())
    if file:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
