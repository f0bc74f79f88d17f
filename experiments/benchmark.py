"""Compare how long things take with what others take, in one process, in turn.

step           a training step of the chain, each allocation and release noted; PyTorch's eager one
measuring      what it costs to measure a PyTorch step
checkpointing  a checkpointed step; `checkpoint_sequential`
prediction     numbers from shapes only
schedules      making a binomial schedule
applied        a plan in a training loop; checkpointed blocks, PyTorch's own choice
plans          the operations of each planner within budgets of memory; PyTorch's own

Without a name all are run. Prints tables and writes `benchmark.csv`, `benchmark.png`
(`plans.png`) and `history.csv`, which keeps the rows of all runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from autodiff.errors import TapemeasureError
from experiments import benchmarks
from experiments.cli.exit import SOME_FAILED, WRONG_INPUT, program_of
from experiments.errors import one_line

NAMES = ("step", "measuring", "checkpointing", "prediction", "schedules", "plans", "applied")
OUT = "outputs/benchmark"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog=" ".join(program_of("benchmark")),
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", default=list(NAMES), metavar="NAME", help=f"any of {', '.join(NAMES)}"
    )
    parser.add_argument("--out", default=OUT, help=f"where the files are written (default {OUT})")
    parser.add_argument(
        "--layers", type=int, default=12, help="layers of the transformers of plans (default 12)"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        expected = ", ".join(NAMES)
        print(
            f"error: benchmark {unknown[0]!r} is unknown; expected any of {expected}",
            file=sys.stderr,
        )
        sys.exit(WRONG_INPUT)
    if given.layers < 1:
        print(f"error: layers = {given.layers}; expected at least 1", file=sys.stderr)
        sys.exit(WRONG_INPUT)
    try:
        benchmarks.write_benchmark(
            benchmarks.run_benchmarks(given.names, given.layers), Path(given.out)
        )
    except (TapemeasureError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(SOME_FAILED)


if __name__ == "__main__":
    main()
