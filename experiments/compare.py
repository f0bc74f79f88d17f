"""Compare runs, sweeps or steps of modules, with a column for each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from autodiff.errors import TapemeasureError
from experiments import reporting
from experiments.cli.exit import FINE, SOME_FAILED, WRONG_INPUT, program_of, say_fault
from experiments.cli.interrupts import ending_quietly, exit_code_of, listen
from experiments.errors import one_line
from experiments.progress import working


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = _parser().parse_args(arguments)
    listen()
    # Loads pandas and PyTorch, which an interrupt would leave half made.
    with working("loading PyTorch"), ending_quietly():
        compare = reporting.compare_directories
    try:
        with working("comparing"):
            compare(given.directories, given.output, given.concurrent)
    except (TapemeasureError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt as error:
        print("interrupted; nothing was changed in the runs", file=sys.stderr)
        return exit_code_of(error)
    except Exception as error:
        say_fault(error, given.output or given.directories[0])
        return SOME_FAILED
    return FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=" ".join(program_of("compare")),
        description="Compare any number of runs with a column for each, what differs marked: "
        "sweeps point by point, or steps of modules (tapemeasure profile) number by number.",
    )
    parser.add_argument(
        "directories", type=Path, metavar="DIR", nargs="+", help="a directory of a run; two or more"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where comparison.html and comparison.csv go; by default the first DIR",
    )
    parser.add_argument(
        "--concurrent",
        action="store_true",
        help="include timings of rows measured while other jobs ran on the same machine",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
