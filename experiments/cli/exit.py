"""How a command ends: its exit code, the sweep that is still open, the command that resumes it.

Hydra stands between the command line and the jobs and passes little on, so this is noted here: the
only global state of the experiments, which `main` reads when Hydra is done.
"""

from __future__ import annotations

import re
import shlex
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from experiments.errors import one_line
from experiments.results.files import write_text

FINE, SOME_FAILED, WRONG_INPUT = 0, 1, 2
FAULT = "fault.txt"
_DIRECTORIES = ("hydra.run.dir=", "hydra.sweep.dir=")


@dataclass
class Outcome:
    """The exit codes of the jobs in this process; a multirun's directory and lock until it ends."""

    exit_codes: list[int] = field(default_factory=list)
    open_sweep: Path | None = None
    lock: int | None = None

    def exit_code(self) -> int:
        """Return the worst exit code of all jobs."""
        return max(self.exit_codes, default=FINE)


outcome = Outcome()


def say_fault(error: Exception, directory: Path) -> None:
    """Print one line about an internal error, and write its traceback to a file to be reported."""
    print(
        f"error: {one_line(error)}; internal error; please report it with {directory / FAULT}; "
        "completed rows are saved",
        file=sys.stderr,
    )
    with suppress(OSError):
        write_text(directory / FAULT, "".join(traceback.format_exception(error)))


def program_of(module: str) -> list[str]:
    """Return the words that start a module of `experiments` as this process was started."""
    if Path(sys.argv[0]).name.startswith("tapemeasure"):
        return ["tapemeasure", module.removesuffix("_module")]
    return ["python", "-m", f"experiments.{module}"]


def report_command(directory: Path) -> str:
    """Return the command line that makes a directory's report again."""
    return shlex.join([*program_of("report"), str(directory.absolute())])


def resume_command(directory: Path, is_multirun: bool = False) -> str:
    """Return the command line that resumes a sweep: this process's own, into the same directory."""
    arguments = [
        argument for argument in sys.argv[1:] if not argument.lstrip("+").startswith(_DIRECTORIES)
    ]
    where = "hydra.sweep.dir" if is_multirun else "hydra.run.dir"
    path = str(directory.absolute())
    # What Hydra's grammar would take apart is quoted for Hydra, and all of it for the shell.
    if not re.fullmatch(r"[\w./-]+", path, re.ASCII):
        # In Hydra's quotes a backslash stands for itself, except before a quote or at the end.
        quoted = re.sub(
            r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), path
        )
        path = f"'{quoted}'"
    # After the other overrides: behind a flag, argparse would not take it for one.
    overrides = [
        place
        for place, argument in enumerate(arguments)
        if "=" in argument and not argument.startswith("-")
    ]
    arguments.insert(overrides[-1] + 1 if overrides else len(arguments), f"{where}={path}")
    return shlex.join([*program_of("sweep"), *arguments])
