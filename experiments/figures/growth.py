"""How recomputation grows with depth for few snapshots, log₂ n or √n of them, on the theory."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from experiments.analysis.growth import DISTANT, Growth, growths_of, slope_of, theory_layers
from experiments.analysis.selection import source_words
from experiments.analysis.verdict import Agreement
from experiments.figures import axes as scales
from experiments.figures.data import AXIS_LABELS, case_words, fixed_words, on_curves, whole_numbers
from experiments.figures.style import WIDTH, Drawing, Look, finish, handle, marks, new_figure
from experiments.results.tables import Results
from experiments.text import joined

CAPTION = (
    "How to read it: both axes are logarithmic, so the slope is the power of n. With the same few "
    "snapshots at every depth the work grows faster than the network; with log₂ n of them faster "
    "by "
    "a logarithm; with √n of them it stays a small multiple. At these depths the slopes are "
    "steeper "
    "than the powers of the textbooks, and so are those of the theory’s exact count: the powers "
    "are "
    "its limit as n grows. Without the first sweep, on the right, it starts steeper still."
)
LOOKS = (
    Look("#6b2d80", "v", "-", 8),
    Look("#e08a1e", "o", (0, (5, 2)), 7),
    Look("#10254d", "D", (0, (4, 1.5, 1, 1.5)), 6.5),
)
SUM, AGAIN = "ops_forward + ops_recompute", "ops_recompute"


def draw_growth(results: Results) -> Drawing | None:
    """Draw layers run, and recomputed, against depth; None without three depths of a rule."""
    growths = growths_of(results.results)
    if not growths:
        return None
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2)
    handles: list[Any] = []
    values: dict[str, list[float]] = {SUM: [], AGAIN: []}
    marked: list[tuple[float, float]] = []
    for growth, look in zip(growths, LOOKS, strict=False):
        for axes, quantity in ((left, SUM), (right, AGAIN)):
            pairs, curve = _draw(axes, growth, look, again=quantity == AGAIN)
            marked += pairs
            values[quantity] += [*(value for value, _ in pairs), *curve]
        handles.append(_handle(growth, look))
    every = pd.concat([growth.rows for growth in growths])
    for axes, quantity, label in (
        (left, SUM, "layers run forward"),
        (right, AGAIN, "of these, recomputed"),
    ):
        scales.swept_axis(axes, every["n"], AXIS_LABELS["n"], WIDTH / 2 - 1)
        scales.count_axis(axes, values[quantity], label)
    title = _title(growths)
    first = every.iloc[0]
    fixed = fixed_words({"d": int(first["d"]), "b": int(first["b"])})
    note = (
        f"{case_words(every)}, {fixed} · revolve · marks {source_words(every)}, lines theory, its "
        f"curve dotted · {on_curves(Agreement.of(marked))}"
    )
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _draw(
    axes: Axes, growth: Growth, look: Look, again: bool
) -> tuple[list[tuple[float, float]], list[float]]:
    """Draw a rule's layers on the theory's count; return marks with their counts, and the line."""
    depths, rule = growth.depths, growth.rule
    xs = sorted({*depths, *whole_numbers(depths[0], depths[-1])})
    counts = {n: theory_layers(n, rule.snapshots(n)) - (n if again else 0) for n in xs}
    found = layers_run(growth, again=again)
    line = [float(count) for count in counts.values()]
    axes.plot(xs, line, color=look.colour, linestyle=look.dash, zorder=3, linewidth=1.2)
    # The theory's curve, shifted down to touch the deepest mark.
    guide = [found[-1] * rule.curve(n) / rule.curve(depths[-1]) for n in xs]
    axes.plot(xs, guide, color=look.colour, linewidth=0.9, linestyle=(0, (1, 3)), zorder=2)
    marks(axes, depths, found, look)
    pairs = [(value, float(counts[n])) for n, value in zip(depths, found, strict=True)]
    return pairs, [value for value in line if value > 0]


def _handle(growth: Growth, look: Look) -> Any:
    """Return the legend's entry of a rule: its slopes, the theory's, and the limit."""
    found, theirs = (
        joined([f"{slope:.2f}" for slope in pair])
        for pair in (
            [layer_slope(growth, again) for again in (False, True)],
            [growth.counted_slope(quantity) for quantity in (SUM, AGAIN)],
        )
    )
    counts = "as the theory counts" if found == theirs else f"where the theory counts {theirs}"
    distant = f"{growth.counted_slope(SUM, DISTANT):.2f} about n = 10⁶"
    name = growth.rule.name
    return handle(f"{name}: slopes {found}, {counts}; {distant}; {growth.rule.words}", look)


def layers_run(growth: Growth, again: bool) -> list[float]:
    """Return how many layers were run, or recomputed, from the operations of one layer."""
    rows = growth.rows
    loss = (rows["b"] * rows["d"] - 1).where(rows["loss"] == "sum", 0)
    layer = (rows["ops_forward"] - loss) / rows["n"]
    count = rows["ops_recompute"] / layer
    return [float(value) for value in (count if again else count + rows["n"])]


def layer_slope(growth: Growth, again: bool) -> float:
    """Return the log–log slope of the layers run, or of those recomputed."""
    return slope_of(growth.depths, layers_run(growth, again))


def _title(growths: list[Growth]) -> str:
    facts = [
        f"{layer_slope(growth, again=False):.2f} with {growth.rule.name} (in the limit "
        f"{growth.rule.words})"
        for growth in growths
    ]
    depths = f"n = {growths[0].depths[0]} to {growths[0].depths[-1]}"
    return (
        f"More snapshots, slower growth: over {depths} the layers run forward grow with a slope of "
        f"{joined(facts)}"
    )
