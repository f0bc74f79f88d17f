"""The command `tapemeasure`: its subcommands are the programs at the top of `experiments`.

A user's own `experiments/`, `profiler.py` or `autodiff.py` in the working directory is never taken
for a part of this project, since the working directory comes last on the path: here, and by
PYTHONSAFEPATH in the processes that a command starts.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

import autodiff
import experiments
import profiler
import tapemeasure
from experiments.cli.interrupts import end_quietly
from experiments.cli.supervision import supervised

OURS = (autodiff, profiler, experiments)
SUBCOMMANDS = {
    "sweep": ("experiments.sweep", "measure a grid of networks, compare with theory, report"),
    "report": (
        "experiments.report",
        "make a sweep's report again, or list the reports of a folder",
    ),
    "compare": ("experiments.compare", "runs next to one another, what differs marked"),
    "plots": ("experiments.plots", "draw the README's figure from a sweep"),
    "profile": ("experiments.profile_module", "what a training step of a PyTorch module takes"),
    "complexity": ("experiments.complexity_module", "how a PyTorch module grows, as formulas"),
    "benchmark": ("experiments.benchmark", "how long things take, compared with PyTorch"),
}
SUPERVISED = ("profile", "complexity")
"""Commands that run a user's modules in their own process."""


def main() -> None:
    """Run the subcommand that the first argument names, with the arguments after it."""
    end_quietly()
    name = _parser().parse_args(sys.argv[1:2]).command
    put_working_directory_last()
    sys.argv[:2] = [f"tapemeasure {name}"]
    run = importlib.import_module(SUBCOMMANDS[name][0]).main
    sys.exit(supervised(run) if name in SUPERVISED else run())


def put_working_directory_last() -> None:
    """Let user-written planners and models be imported, but only after everything installed."""
    os.environ["PYTHONSAFEPATH"] = "1"
    here = os.getcwd()
    sys.path[:] = [path for path in sys.path if path not in ("", here)]
    sys.path.append(here)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, SUBCOMMANDS))
    parser = argparse.ArgumentParser(
        prog="tapemeasure",
        usage="tapemeasure COMMAND ...",
        description="Time and memory of backpropagation, measured and predicted.",
        epilog="commands:\n"
        + "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in SUBCOMMANDS.items())
        + "\n\ntapemeasure COMMAND --help describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"tapemeasure {tapemeasure.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument("command", choices=SUBCOMMANDS, metavar="COMMAND", help="one of these:")
    return parser


if __name__ == "__main__":
    main()
