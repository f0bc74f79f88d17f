"""Draw the README's figure from a sweep's directory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from autodiff.errors import TapemeasureError
from experiments import figures
from experiments.cli.exit import FINE, WRONG_INPUT, program_of
from experiments.errors import one_line
from experiments.progress import working


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=" ".join(program_of("plots")),
        description="Draw the README's figure from a sweep's directory.",
    )
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="a directory that a sweep wrote"
    )
    parser.add_argument("path", type=Path, metavar="FILE.png", help="where to put the figure")
    given = parser.parse_args(arguments)
    try:
        with working("drawing"):
            figures.draw_overview_of(given.directory, given.path)
    except (TapemeasureError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return WRONG_INPUT
    return FINE


if __name__ == "__main__":
    sys.exit(main())
