"""What plans take of operations within budgets, as a table and as lines."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.figures.axes import more_axis
from experiments.figures.style import (
    MORE_LOOKS,
    Drawing,
    finish,
    handle,
    marks,
    new_figure,
    png_of,
    styled,
)
from experiments.results.files import write_bytes

COLUMNS = 4


def print_gaps(frame: pd.DataFrame) -> None:
    """Print operations as multiples of plain ones, a line a budget."""
    families = list(dict.fromkeys(frame["what"]))
    for name, group in frame.groupby("shape", sort=False):
        table = Table(title=f"{name}: operations as a multiple of {group['baseline'].iloc[0]}")
        table.add_column("budget", justify="right")
        for family in families[1:]:
            table.add_column(family, justify="right")
        for share in sorted(set(group["budget"]) - {1.0}, reverse=True):
            at = group[group["budget"] == share]
            found = {
                row.what: f"{row.ratio:.4f}{' ✓' * row.optimality.startswith('optimal')}"
                for row in at.itertuples()
            }
            table.add_row(f"{share:.0%}", *(found.get(family, "–") for family in families[1:]))
        table.caption = "✓ proved to be the best of that planner's plans"
        Console(width=150).print(table)


def draw_gaps(frame: pd.DataFrame, path: Path) -> None:
    """Draw operations over budgets, a panel a network and a line a planner."""
    with styled("plans"):
        write_bytes(path, png_of(_drawing(frame), dpi=120))


def _drawing(frame: pd.DataFrame) -> Drawing:
    networks = list(frame.groupby("shape", sort=False))
    families = [family for family in dict.fromkeys(frame["what"]) if family != "store_all"]
    looks = dict(zip(families, MORE_LOOKS, strict=False))
    columns = min(COLUMNS, len(networks))
    rows = -(-len(networks) // columns)
    figure = new_figure(2.9 * rows, width=max(9.6, 3.3 * columns))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    highest = 100 * (float(frame["ratio"].max()) - 1)
    for place, (panel, (name, group)) in enumerate(zip(panels, networks, strict=False)):
        for rank, (family, look) in enumerate(looks.items()):
            line = group[group["what"] == family].sort_values("budget")
            across, up = 100 * line["budget"], (100 * (line["ratio"] - 1)).clip(lower=0)
            panel.plot(across, up, color=look.colour, linestyle=look.dash, linewidth=1.2)
            marks(panel, across, up, look, rank=rank, size=look.size)
        panel.set_title(str(name))
        panel.set_xlim(100, 10)
        more_axis(panel, highest, "more operations" * (place % columns == 0), which="y")
        percents = range(20, 101, 20)
        panel.set_xticks(percents, labels=[f"{percent}%" for percent in percents])
        if place + columns >= len(networks):
            panel.set_xlabel("budget, of the plain peak")
            panel.tick_params(labelbottom=True)
    for panel in panels[len(networks) :]:
        panel.set_visible(False)
    title = "What each planner takes of operations within a budget of memory"
    handles = [handle(family, look) for family, look in looks.items()]
    note = "no mark: no plan of that planner fits · linear up to 0.1%"
    return Drawing(title, "", finish(figure, title, note, handles))
