"""How recomputation grows with depth when snapshots are few, grow as log₂ n, or grow as √n: measured marks on the theory's counts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.figures import axes as scales
from experiments.figures.data import AXIS_LABELS, case_words, fixed_words, whole_numbers
from experiments.figures.style import WIDTH, Drawing, Look, finish, handle, marks, new_figure
from experiments.growth import Growth, growths_of
from experiments.publish import Results
from experiments.theory_checkpointing import advances
from experiments.words import joined

CAPTION = (
    "How to read it: both axes are logarithmic, so the slope is the power of n. With the same few snapshots at every depth the work grows "
    "faster than the network; with log₂ n of them by a logarithm faster; with √n of them it stays a small multiple. The slopes tend to the "
    "theory’s as n grows; without the first sweep, on the right, they start steeper."
)
LOOKS = (Look("#6b2d80", "v", "-", 8), Look("#e08a1e", "o", (0, (5, 2)), 7), Look("#10254d", "D", (0, (4, 1.5, 1, 1.5)), 6.5))
SUM, AGAIN = "ops_forward + ops_recompute", "ops_recompute"


def draw_growth(results: Results) -> Drawing | None:
    """Layers run forward in all, and run again, against depth; None without three depths of a rule."""
    growths = growths_of(results.results)
    if not growths:
        return None
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2)
    handles: list[Any] = []
    values: dict[str, list[float]] = {SUM: [], AGAIN: []}
    met, of = 0, 0
    for growth, look in zip(growths, LOOKS, strict=False):
        depths, rule = growth.depths, growth.rule
        xs = sorted({*depths, *whole_numbers(depths[0], depths[-1])})
        for axes, quantity in ((left, SUM), (right, AGAIN)):
            measured = layers_run(growth, again=quantity == AGAIN)
            expected = [theory_layers(n, rule.snapshots(n)) - (n if quantity == AGAIN else 0) for n in xs]
            known = dict(zip(xs, expected, strict=True))
            met += sum(known[n] == value for n, value in zip(depths, measured, strict=True))
            of += len(depths)
            axes.plot(xs, expected, color=look.colour, linestyle=look.dash, zorder=3, linewidth=1.2)
            # The theory's curve, let down to touch the deepest mark.
            guide = [measured[-1] * rule.curve(n) / rule.curve(depths[-1]) for n in xs]
            axes.plot(xs, guide, color=look.colour, linewidth=0.9, linestyle=(0, (1, 3)), zorder=2)
            marks(axes, depths, measured, look)
            values[quantity] += [*measured, *(value for value in expected if value > 0)]
        slopes = f"slopes {growth.slope(SUM):.2f} and {growth.slope(AGAIN):.2f}"
        handles.append(handle(f"{rule.name}: {slopes}; theory {rule.words}, {growth.curve_slope:.2f}", look))
    every = pd.concat([growth.rows for growth in growths])
    for axes, quantity, label in ((left, SUM, "layers run forward"), (right, AGAIN, "of these, run again")):
        scales.swept_axis(axes, every["n"], AXIS_LABELS["n"], WIDTH / 2 - 1)
        scales.count_axis(axes, values[quantity], label)
    title = _title(growths)
    first = every.iloc[0]
    fixed = fixed_words({"d": int(first["d"]), "b": int(first["b"])})
    held = f"all {of} marks lie on the theory’s counts" if met == of else f"ONLY {met} of {of} marks lie on the theory’s counts"
    note = f"{case_words(every)}, {fixed} · revolve · lines: theory, with its curve dotted · {held}"
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def layers_run(growth: Growth, again: bool) -> list[float]:
    """Layers run forward, from the measured operations of one layer: all of them, or those that were run again."""
    rows = growth.rows
    loss = (rows["b"] * rows["d"] - 1).where(rows["loss"] == "sum", 0)
    layer = (rows["ops_forward"] - loss) / rows["n"]
    count = rows["ops_recompute"] / layer
    return [float(value) for value in (count if again else count + rows["n"])]


def theory_layers(n: int, s: int) -> int:
    """The fewest layers run forward that reverse n with s snapshots, by the better of the two forms."""
    return n if s >= n else min(advances(n, s) + 1, advances(n - 1, s) + 2)


def _title(growths: list[Growth]) -> str:
    facts = [f"{growth.slope(SUM):.2f} with {growth.rule.name} (theory {growth.rule.words})" for growth in growths]
    return f"More snapshots, slower growth: layers run forward grow with depth by a slope of {joined(facts)}"
