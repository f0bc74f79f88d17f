"""The map of a full step's peak: which of the theory's moments it is, over depth and b/d."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments import theory
from experiments.analysis.selection import source_words
from experiments.figures import axes as scales
from experiments.figures.data import AXIS_LABELS, case_of, case_words, main_case, points_of
from experiments.figures.style import INK, MUTED, Drawing, Look, finish, new_figure
from experiments.names import AXES, HOME_ENGINE, ITEMSIZES
from experiments.results.tables import Results
from experiments.text import counted

CAPTION = (
    "How to read it: to the right the batch is wider compared with the layer, upwards the network "
    "is "
    "deeper. Each region is named after the moment at which most is alive, and each mark shows the "
    "moment whose formula a row’s peak equals. In the regions on the left a smaller batch saves "
    "little, since weight gradients dominate the peak; on the right it saves most of it."
)
REGIONS = (
    Look("#d5e7f4", "o", ""),
    Look("#f7d79b", "s", "///"),
    Look("#b4b9c2", "^", "\\\\\\"),
    Look("#cfe8d8", "D", "---"),
    Look("#e6d3ea", "v", "|||"),
)
MARK_COLOURS = ("#10254d", "#8c3506", "#000000", "#00533c", "#4f1f60")
SEVERAL, NONE = -1, -2
STEPS_PER_DOUBLING = 24


def draw_regimes(results: Results) -> Drawing | None:
    """Draw which moment of a full step is its peak; None without two depths ≥ 2 and two b/d."""
    frame = main_case(points_of(results.results))
    rows = frame[(frame["mode"] == "full") & (frame["engine"] == HOME_ENGINE) & (frame["n"] >= 2)]
    ratios = (rows["b"] / rows["d"]).astype(float)
    if rows.empty or rows["n"].nunique() < 2 or ratios.nunique() < 2:
        return None
    case = case_of(rows)
    pieces = theory.peak_pieces("full", 3, activation=case["activation"], loss=case["loss"])
    met = _met(rows, case)
    low, high, deepest = float(ratios.min()) / 1.3, float(ratios.max()) * 1.3, int(rows["n"].max())
    figure = new_figure(4.3)
    axes = figure.subplots()
    axes.grid(visible=False)
    active = _fill(axes, pieces, (low, high), (1.8, deepest * 1.13))
    _ratio_axis(axes, low, high)
    scales.swept_axis(axes, rows["n"], AXIS_LABELS["n"], 3.6, which="y")
    axes.set_ylim(1.8, deepest * 1.13)
    handles = _moment_marks(axes, pieces, met, active)
    title = _title(met, len(active), source_words(rows))
    note = (
        f"{case_words(rows)} · n ≥ 2 · marks {source_words(rows)}, counted in the legend; those "
        "that would hide each other are drawn once · the regions are those of large d"
    )
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _moment_marks(
    axes: Axes, pieces: list[theory.Piece], met: pd.DataFrame, active: set[int]
) -> list[Any]:
    """Draw each row's mark; return the legend's entries, one per moment."""
    handles: list[Any] = []
    for index in [*range(len(pieces)), SEVERAL, NONE]:
        mark, mine = _mark(index), met[met["piece"] == index]
        shown = _apart(mine)
        axes.plot(shown["ratio"], shown["n"], linestyle="none", zorder=5, **mark)
        count = counted(len(mine), "row")
        if index >= 0 and (index in active or len(mine)):
            look = REGIONS[index % len(REGIONS)]
            label = f"{pieces[index].label}: {pieces[index].pretty_formula} ({count})"
            patch = Patch(
                facecolor=look.colour, hatch=look.dash, edgecolor=MUTED, linewidth=0.6, label=label
            )
            handles.append((patch, Line2D([], [], linestyle="none", **mark)))
        elif index < 0 and len(mine):
            label = {
                SEVERAL: f"on a border, several at once ({count})",
                NONE: f"NONE of them ({count})",
            }[index]
            handles.append(Line2D([], [], linestyle="none", label=label, **mark))
    return handles


def _apart(marks: pd.DataFrame) -> pd.DataFrame:
    """Return the marks less those that an earlier one would hide, in steps of about a point."""
    places = pd.DataFrame({"ratio": np.rint(np.log2(marks["ratio"]) * STEPS_PER_DOUBLING)})
    return marks[~places.assign(n=marks["n"]).duplicated()]


def _title(met: pd.DataFrame, moments: int, source: str) -> str:
    astray = int((met["piece"] == NONE).sum())
    share = (
        f"{moments} moments of a full step can be its peak"
        if moments > 1
        else "One moment of a full step is its peak"
    )
    if astray:
        return (
            f"{share}, but {counted(astray, 'peak')} of {len(met):,} ({source}) "
            f"{'is' if astray == 1 else 'are'} NOT the greatest of them"
        )
    return (
        f"{share}; b/d decides which: {len(met):,} of {len(met):,} peaks ({source}) are the one "
        "that the theory names"
    )


def _met(rows: pd.DataFrame, case: dict[str, Any]) -> pd.DataFrame:
    """Return for each row its ratio, its depth and the moment that it is.

    A moment is an index, SEVERAL, or NONE where the peak is not the greatest one.
    """
    found = []
    size = ITEMSIZES[case["dtype"]]
    moments = {
        n: theory.peak_pieces("full", n, activation=case["activation"], loss=case["loss"])
        for n in rows["n"].unique().tolist()
    }
    columns = (rows[name].tolist() for name in (*AXES, "peak_bytes"))
    for n, d, b, peak in zip(*columns, strict=True):
        pieces = moments[n]
        values = [size * piece.elements(n, d, b) for piece in pieces]
        equal = [index for index, value in enumerate(values) if value == peak]
        piece = NONE if peak != max(values) else SEVERAL if len(equal) > 1 else equal[0]
        found.append({"ratio": b / d, "n": n, "piece": piece})
    return pd.DataFrame(found)


def _mark(index: int) -> dict[str, Any]:
    """Return how a peak of a moment is drawn."""
    if index == NONE:
        return {"marker": "x", "color": "#d00000", "markersize": 12, "markeredgewidth": 2.5}
    if index == SEVERAL:
        return {
            "marker": "o",
            "color": "white",
            "markersize": 7,
            "markeredgewidth": 1.3,
            "markeredgecolor": INK,
        }
    colour = MARK_COLOURS[index % len(MARK_COLOURS)]
    return {
        "marker": REGIONS[index % len(REGIONS)].marker,
        "color": colour,
        "markersize": 7,
        "markeredgewidth": 0.7,
        "markeredgecolor": "white",
    }


def _fill(
    axes: Axes, pieces: list[theory.Piece], ratios: tuple[float, float], depths: tuple[float, float]
) -> set[int]:
    """Fill the region of each piece, in units of d² for large d; return the active pieces."""
    ratio, depth = np.meshgrid(np.geomspace(*ratios, 161), np.geomspace(*depths, 61))
    # At n = 2 moments of neighbouring layers coincide, so regions and colours begin above it.
    deep = np.maximum(depth, 2.05)
    sizes = np.array(
        [
            (piece.area_n * deep + piece.area) * ratio + piece.weight_n * deep + piece.weight
            for piece in pieces
        ]
    )
    active = set()
    for index in range(len(pieces)):
        others = np.delete(sizes, index, axis=0)
        above = sizes[index] - others.max(axis=0) if len(others) else np.ones_like(ratio)
        if (above > 0).any():
            look = REGIONS[index % len(REGIONS)]
            active.add(index)
            axes.contourf(
                ratio,
                depth,
                above,
                levels=[0, above.max() + 1],
                colors=[look.colour],
                hatches=[look.dash],
                zorder=1,
            )
            if (above <= 0).any():
                axes.contour(
                    ratio, depth, above, levels=[0], colors=[INK], linewidths=0.8, zorder=2
                )
    return active


def _ratio_axis(axes: Axes, low: float, high: float) -> None:
    """Set a base-2 axis of b/d with ticks as fractions."""
    exponents = [exponent for exponent in range(-20, 21) if low <= 2.0**exponent <= high]
    thin = exponents[:: max(1, len(exponents) // 12)]
    axes.set_xscale("log", base=2)
    axes.set_xticks(
        [2.0**exponent for exponent in thin],
        [f"1/{2**-exponent}" if exponent < 0 else f"{2**exponent}" for exponent in thin],
    )
    axes.minorticks_off()
    axes.set_xlim(low, high)
    axes.set_xlabel("batch over width, b/d")
