"""The frames of a profile as tables: on a terminal, and in a notebook."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from profiler.units import human_bytes, human_count, human_ns

BIGGEST_SHOWN = 5

Frames = Mapping[str, pd.DataFrame]
"""A title for each frame; numbers are formatted by the name of their column."""


def text_table(frames: Frames, alive: pd.DataFrame, width: int = 110) -> str:
    """Format frames and the biggest buffers at the peak as text of at most `width` columns."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    for title, frame in frames.items():
        console.print(_rich(_formatted(frame), title))
    lines = [
        f"  {row.node}, {human_bytes(row.bytes)}, {row.why}"
        for row in alive.head(BIGGEST_SHOWN).itertuples()
    ]
    return out.getvalue() + "\n".join(["at the peak:", *lines])


def html_table(frames: Frames, alive: pd.DataFrame) -> str:
    """Format the same as HTML, for a notebook."""
    tables = [*map(_formatted, frames.values()), alive.head(BIGGEST_SHOWN)]
    return "\n".join(table.to_html(index=False) for table in tables)


def latex_table(frame: pd.DataFrame) -> str:
    """Return a frame for LaTeX with the package booktabs: numbers as people write them, escaped.

    Columns of numbers stand at the right.
    """
    shown = _formatted(frame)
    columns = "".join(
        "r" if name == "" or (name in frame and pd.api.types.is_numeric_dtype(frame[name])) else "l"
        for name in shown
    )
    return latex_of(shown, columns)


def latex_of(shown: pd.DataFrame, columns: str) -> str:
    """Return a frame of text for LaTeX; `columns` says how each one is set, such as `lrr`."""
    styler = shown.style.hide(axis="index").format(escape="latex")
    text = styler.format_index(escape="latex", axis=1).to_latex(column_format=columns, hrules=True)
    return str(text).translate(_IN_LATEX)


_IN_LATEX = str.maketrans(
    {
        "×": r"$\times$",
        "−": "$-$",
        "–": "--",
        "µ": r"\textmu{}",
        "∂": r"$\partial$",
        "…": r"\dots{}",
        "σ": r"$\sigma$",
        "·": r"$\cdot$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "’": "'",
        **{digit: f"$^{place}$" for place, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        **{digit: f"$_{place}$" for place, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    }
)
"""Characters of the project's tables that pdfLaTeX cannot set, as commands."""


def _formatted(frame: pd.DataFrame) -> pd.DataFrame:
    """Format every number as text, bytes also in binary units."""
    columns = {}
    for name, values in frame.items():
        if name == "time":
            columns[name] = values.map(human_ns)
        elif pd.api.types.is_numeric_dtype(values) or name == "bytes":
            columns[name] = values.map(human_count)
        else:
            columns[name] = values
    if "bytes" in frame:
        columns[""] = frame["bytes"].map(human_bytes)
    return pd.DataFrame(columns)


def _rich(frame: pd.DataFrame, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        table.add_column(column, justify="left" if column in ("phase", "memory") else "right")
    for row in frame.itertuples(index=False):
        table.add_row(*row)
    return table
