"""A study's formulas in the terminal and in files: the table, JSON to read back, the figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.complexity.figure import draw_marks
from experiments.complexity.formulas import UNDECIDED, Complexity, Found
from experiments.complexity.measuring import Row
from experiments.complexity.study import PEAKS
from experiments.figures.style import png_of, styled, svg_of
from experiments.results.files import write_bytes, write_csv, write_json, write_text
from experiments.text import joined

CSV, JSON, FIGURE = "complexity.csv", "complexity.json", "complexity"
SHOWN = ("operations", "needed_bytes", "peak_bytes")
"""The quantities whose elasticities are listed, where they were decided."""


def say(found: Complexity, console: Console | None = None) -> None:
    """Print the formulas, their orders, their values at full size, and what drives them."""
    out = console or _console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("quantity", "formula", "grows as"):
        table.add_column(column, overflow="fold")
    table.add_column("at " + _shape(found.letters, found.full), justify="right")
    table.add_column("held out", justify="right")
    for name, one in found.found.items():
        table.add_row(name, *_cells(one, found.full))
    out.print(table)
    for line in remarks(found):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _console() -> Console:
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=150)


def _cells(one: Found, full: Sequence[int]) -> tuple[str, str, str, str]:
    """Return the cells of a row: of a maximum, the piece that is active at full size."""
    if one.formula is None:
        value = "" if one.full is None else f"{one.full:,}"
        return f"{UNDECIDED}: {one.reason}", "", value, str(one.held_out)
    at, pieces = one.formula.active(*full), one.formula.pretty
    text = pieces[at] if len(pieces) == 1 else f"{pieces[at]}  (greatest of {len(pieces)} here)"
    return text, one.formula.order, f"{one.formula(*full):,}", str(one.held_out)


def _is_met(found: Found, full: Sequence[int]) -> bool:
    """Return whether a formula gives what was predicted at full size."""
    return found.formula is not None and found.formula(*full) == found.full


def _shape(letters: Sequence[str], shape: Sequence[int]) -> str:
    return ", ".join(f"{letter}={size}" for letter, size in zip(letters, shape, strict=True))


def remarks(found: Complexity) -> list[str]:
    """Return in sentences how far the formulas were checked, and what drives them at full size."""
    decided = {name: one for name, one in found.found.items() if one.formula is not None}
    lines = [
        f"Letters: {', '.join(map(' is '.join, zip(found.letters, found.names, strict=True)))}."
    ]
    steps = "".join(
        f", {letter} in steps of {unit}"
        for letter, unit in zip(found.letters, found.units, strict=True)
        if unit > 1
    )
    ranges = Counter(one.lowest for one in decided.values())
    for number, (lowest, _) in enumerate(ranges.most_common()):
        same = [name for name, one in decided.items() if one.lowest == lowest]
        which = joined(same) if number else "Most formulas" if len(ranges) > 1 else "All formulas"
        lines.append(f"{which}: compared with rows from {_shape(found.letters, lowest)} on{steps}.")
    checked = [one for one in decided.values() if _is_met(one, found.full)]
    if checked:
        lines.append(
            f"At full size a prediction of the step equals {len(checked)} of {len(decided)} "
            "decided formulas to the last operation and byte."
        )
    for name in SHOWN:
        if name in decided and (formula := decided[name].formula) is not None:
            grows = formula.elasticities(*found.full)
            drivers = sorted(grows.items(), key=lambda pair: -pair[1])
            lines.append(
                f"1% more of a letter changes {name} at full size by "
                + ", ".join(f"{value:.2f}% ({letter})" for letter, value in drivers)
                + "."
            )
    for name in PEAKS.values():
        if name in decided and (formula := decided[name].formula) is not None:
            moment = decided[name].moments[formula.active(*found.full)]
            lines.append(f"{name} at full size is that of {moment}.")
    lines += [f"{name}: {one.reason}." for name, one in decided.items() if one.reason]
    return lines


def table_of(found: Complexity) -> pd.DataFrame:
    """Return one row a quantity: formula, order, LaTeX, and how many rows it was compared with."""
    return pd.DataFrame(
        [
            {
                "quantity": name,
                "formula": str(one.formula) if one.formula else UNDECIDED,
                "order": one.formula.order if one.formula else UNDECIDED,
                "latex": one.formula.latex if one.formula else "",
                "at_full_size": one.formula(*found.full) if one.formula else one.full,
                "fitted": one.fitted,
                "held_out": one.held_out,
                "moments": "; ".join(one.moments),
                "lowest": _shape(found.letters, one.lowest),
                "reason": one.reason,
            }
            for name, one in found.found.items()
        ]
    )


def write_report(found: Complexity, rows: Sequence[Row], directory: Path) -> Path:
    """Write the table, the file of formulas and the figure; return the path of the formulas."""
    write_csv(directory / CSV, table_of(found))
    write_json(directory / JSON, found.plain())
    with styled(FIGURE):
        drawing = draw_marks(found, rows)
        if drawing is not None:
            write_text(directory / f"{FIGURE}.svg", svg_of(drawing))
            write_bytes(directory / f"{FIGURE}.png", png_of(drawing))
    return directory / JSON
