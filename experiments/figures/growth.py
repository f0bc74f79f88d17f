"""How recomputation grows with depth when snapshots are few, grow as log₂ n, or grow as √n: measured marks on the theory's counts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.analysis.growth import DISTANT, Growth, growths_of, slope_of, theory_layers
from experiments.figures import axes as scales
from experiments.figures.data import AXIS_LABELS, case_words, fixed_words, whole_numbers
from experiments.figures.style import WIDTH, Drawing, Look, finish, handle, marks, new_figure
from experiments.results.tables import Results
from experiments.text import joined

CAPTION = (
    "How to read it: both axes are logarithmic, so the slope is the power of n. With the same few snapshots at every depth the work grows "
    "faster than the network; with log₂ n of them by a logarithm faster; with √n of them it stays a small multiple. At depths like these the "
    "slopes are still steeper than the powers of the textbooks, and so are those of the theory’s exact count, on which every mark lies: the powers "
    "are what it comes to as n grows. Without the first sweep, on the right, it starts steeper still."
)
LOOKS = (
    Look("#6b2d80", "v", "-", 8),
    Look("#e08a1e", "o", (0, (5, 2)), 7),
    Look("#10254d", "D", (0, (4, 1.5, 1, 1.5)), 6.5),
)
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
            expected = [
                theory_layers(n, rule.snapshots(n)) - (n if quantity == AGAIN else 0) for n in xs
            ]
            known = dict(zip(xs, expected, strict=True))
            met += sum(known[n] == value for n, value in zip(depths, measured, strict=True))
            of += len(depths)
            axes.plot(xs, expected, color=look.colour, linestyle=look.dash, zorder=3, linewidth=1.2)
            # The theory's curve, let down to touch the deepest mark.
            guide = [measured[-1] * rule.curve(n) / rule.curve(depths[-1]) for n in xs]
            axes.plot(xs, guide, color=look.colour, linewidth=0.9, linestyle=(0, (1, 3)), zorder=2)
            marks(axes, depths, measured, look)
            values[quantity] += [*measured, *(value for value in expected if value > 0)]
        slopes = [layer_slope(growth, again) for again in (False, True)]
        counted = [growth.counted_slope(quantity) for quantity in (SUM, AGAIN)]
        found, theirs = (joined([f"{slope:.2f}" for slope in pair]) for pair in (slopes, counted))
        theirs = "as the theory counts" if found == theirs else f"where the theory counts {theirs}"
        distant = f"{growth.counted_slope(SUM, DISTANT):.2f} about n = 10⁶"
        handles.append(
            handle(f"{rule.name}: slopes {found}, {theirs}; {distant}; {rule.words}", look)
        )
    every = pd.concat([growth.rows for growth in growths])
    for axes, quantity, label in (
        (left, SUM, "layers run forward"),
        (right, AGAIN, "of these, run again"),
    ):
        scales.swept_axis(axes, every["n"], AXIS_LABELS["n"], WIDTH / 2 - 1)
        scales.count_axis(axes, values[quantity], label)
    title = _title(growths)
    first = every.iloc[0]
    fixed = fixed_words({"d": int(first["d"]), "b": int(first["b"])})
    held = (
        f"all {of} marks lie on the theory’s counts"
        if met == of
        else f"ONLY {met} of {of} marks lie on the theory’s counts"
    )
    note = f"{case_words(every)}, {fixed} · revolve · lines: theory, with its curve dotted · {held}"
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def layers_run(growth: Growth, again: bool) -> list[float]:
    """Layers run forward, from the measured operations of one layer: all of them, or those that were run again."""
    rows = growth.rows
    loss = (rows["b"] * rows["d"] - 1).where(rows["loss"] == "sum", 0)
    layer = (rows["ops_forward"] - loss) / rows["n"]
    count = rows["ops_recompute"] / layer
    return [float(value) for value in (count if again else count + rows["n"])]


def layer_slope(growth: Growth, again: bool) -> float:
    """The measured log–log slope of the layers run forward, or of those run again."""
    return slope_of(growth.depths, layers_run(growth, again))


def _title(growths: list[Growth]) -> str:
    facts = [
        f"{layer_slope(growth, again=False):.2f} with {growth.rule.name} (in the limit {growth.rule.words})"
        for growth in growths
    ]
    depths = f"n = {growths[0].depths[0]} to {growths[0].depths[-1]}"
    return f"More snapshots, slower growth: over {depths} the layers run forward grow by a slope of {joined(facts)}"
