"""What plans take of operations within budgets, as a table and as lines."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

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
    networks = list(frame.groupby("shape", sort=False))
    families = [family for family in dict.fromkeys(frame["what"]) if family != "store_all"]
    rows = -(-len(networks) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.4 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True).ravel()
    for panel, (name, group) in zip(panels, networks, strict=False):
        for place, family in enumerate(families):
            line = group[group["what"] == family].sort_values("budget")
            panel.plot(
                100 * line["budget"],
                100 * (line["ratio"] - 1),
                marker="os^Dv"[place % 5],
                markersize=4,
                linewidth=1.2,
                color=f"C{place}",
                label=family,
            )
        panel.set_title(str(name), loc="left", fontsize=10)
        panel.set_yscale("symlog", linthresh=0.1)
        panel.spines[["top", "right"]].set_visible(False)
        panel.invert_xaxis()
    for panel in panels[len(networks) :]:
        panel.set_visible(False)
    figure.supxlabel("budget, % of the peak of plain backpropagation")
    figure.supylabel("more operations, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=5)
    out = io.BytesIO()
    figure.savefig(out, dpi=120, format="png")
    write_bytes(path, out.getvalue())
