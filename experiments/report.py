"""Rebuild everything in a sweep's directory from its rows, compare sweeps, or list runs."""

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
        compare, publish = reporting.compare_directories, reporting.publish_again
    try:
        if given.index:
            print(f"index: {reporting.write_index(given.directory)}")
            return FINE
        if given.others:
            compare([given.directory, *given.others], None, given.concurrent)
            return FINE
        results = publish(given.directory, given.concurrent)
    except (TapemeasureError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt as error:
        print("interrupted; the rows are saved; rerun to make the report", file=sys.stderr)
        return exit_code_of(error)
    except Exception as error:
        say_fault(error, given.directory)
        return SOME_FAILED
    print(reporting.closing_line(results))
    print(f"report: {results.directory / reporting.REPORT}")
    return FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=" ".join(program_of("report")),
        description="Rebuild the tables, figures and report of a sweep from its directory, or "
        "compare sweeps.",
    )
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="a directory that a sweep wrote"
    )
    parser.add_argument(
        "others",
        type=Path,
        metavar="OTHER_DIR",
        nargs="*",
        help="others to compare with, as `compare` does; the comparison is written into DIR",
    )
    parser.add_argument(
        "--index",
        action="store_true",
        help="write DIR/index.html, which lists every report below DIR with its keys",
    )
    parser.add_argument(
        "--concurrent",
        action="store_true",
        help="include timings of rows measured while other jobs ran on the same machine",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
