"""`python -m experiments.benchmark [NAME …]`: how long things take, beside what others take, in one process, alternating.

`step` is the chain's training step, each allocation and release noted, against PyTorch's eager one; `measuring` what it costs to measure a PyTorch
step; `checkpointing` a checkpointed step against `checkpoint_sequential`; `prediction` numbers from shapes alone; `schedules` the making of a
binomial schedule. Without a name all are run. It prints one table and writes `benchmark.csv` and `benchmark.png` (`--out DIR`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("step", "measuring", "checkpointing", "prediction", "schedules")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", default=list(NAMES), metavar="NAME", help=f"any of {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--out", default=".", help="where benchmark.csv and benchmark.png are written"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        print(
            f"error: benchmark {unknown[0]!r}; expected any of {', '.join(NAMES)}", file=sys.stderr
        )
        sys.exit(2)
    import pandas as pd

    from autodiff.errors import TapemeasureError
    from experiments.benchmarks import BENCHMARKS
    from experiments.files import write_csv

    try:
        frame = pd.DataFrame([row for name in given.names for row in BENCHMARKS[name]()])
    except TapemeasureError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print_table(frame)
    write_csv(Path(given.out) / "benchmark.csv", frame)
    draw(frame, Path(given.out) / "benchmark.png")


def print_table(frame: pd.DataFrame) -> None:
    """Print the medians and ratios."""
    from rich.console import Console
    from rich.table import Table

    from profiler.units import human_bytes

    table = Table(title="medians of alternating runs, one thread")
    for column in (
        "benchmark",
        "shape",
        "what",
        "median",
        "± half the quartiles' distance",
        "ratio to",
        "ratio",
        "peak",
    ):
        table.add_column(
            column,
            justify="left" if column in ("benchmark", "shape", "what", "ratio to") else "right",
        )
    for row in frame.itertuples():
        peak = (
            ""
            if row.peak_bytes is None or row.peak_bytes != row.peak_bytes
            else human_bytes(row.peak_bytes)
        )
        times = (f"{row.median_ms:.3f} ms", f"{row.spread_ms:.3f} ms")
        table.add_row(
            row.benchmark, row.shape, row.what, *times, row.baseline, f"{row.ratio:.3f}", peak
        )
    Console(width=150).print(table)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draw the ratios as bars, one panel a comparison, the baseline's 1 as a line; what is compared with nothing is left out."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from experiments.files import write_bytes

    groups = list(frame.groupby(["benchmark", "shape"], sort=False))
    groups = [
        (key, group) for key, group in groups if len(group) > 1
    ] or groups  # what stands alone has its row in the table
    heights = [len(group) + 1.6 for _, group in groups]
    figure = Figure(figsize=(10, 0.42 * sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[
        :, 0
    ]
    for panel, ((benchmark, shape), group) in zip(panels, groups, strict=True):
        bars = panel.barh(
            group["what"],
            group["ratio"],
            color=[
                "#12284c" if what != group["baseline"].iloc[0] else "#b9c4d6"
                for what in group["what"]
            ],
        )
        panel.bar_label(bars, labels=[f"{ratio:.2f}" for ratio in group["ratio"]], padding=3)
        panel.axvline(1, color="black", linewidth=0.8, linestyle=":")
        panel.set_title(
            f"{benchmark} ({shape}): time as a multiple of {group['baseline'].iloc[0]}",
            loc="left",
            fontsize=10,
        )
        panel.margins(x=0.12)
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, dpi=120, format="png")
    write_bytes(path, out.getvalue())


if __name__ == "__main__":
    main()
