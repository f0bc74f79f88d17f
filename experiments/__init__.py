"""Experiments: sweeps, fits, figures, reports."""

import importlib.util
import os
import sys
from pathlib import Path

from experiments.cli.interrupts import end_quietly

_ROOT = Path(__file__).resolve().parents[1]


def _refuse_strangers() -> None:
    """Exit with 2 and one line where a module of the working directory hides one of the project."""
    for package in ("autodiff", "profiler"):
        spec = importlib.util.find_spec(package)
        origin = spec.origin if spec is not None else None
        if origin is not None and not Path(origin).resolve().is_relative_to(_ROOT):
            print(
                f"error: {origin} hides the package {package} of this project; "
                "run the command `tapemeasure` (such as `tapemeasure sweep`), which works here",
                file=sys.stderr,
            )
            sys.exit(2)


# While `python -m` looks for the module, "-m" stands in the place of its name; `main` listens
# for Ctrl-C again.
if sys.argv[:1] == ["-m"]:
    end_quietly()
    _refuse_strangers()
# A process that the command `tapemeasure` started finds planners and models here, but last of all.
if sys.flags.safe_path and os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
