"""Sweeps in a process of their own, and small configs for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.results.journal import JOURNAL
from tests.support.paths import ROOT

PATIENCE_S = 300.0

TINY: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [2], "d": [3], "b": [2]},
    "modes": ["full", "checkpointed"],
    "measure_process": False,
}
# A small sweep on the command line, with a planner of tests/support/deadly.py; the report's figures
# are of no interest here.
SMALL = (
    "experiment=quick",
    "grid.n=[2]",
    "grid.d=[3]",
    "grid.b=[2,3]",
    "modes=[full,checkpointed]",
    "timeline=null",
)


def start(
    directory: Path, *arguments: str, before: Callable[[], None] | None = None, **environment: str
) -> subprocess.Popen[str]:
    """`python -m experiments.sweep`, running in a directory, what it says in pipes.

    It hears SIGHUP also where the tests run under nohup, which their children would inherit.
    """

    def prepare() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        if before is not None:
            before()

    command = [sys.executable, "-m", "experiments.sweep", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(
        command,
        cwd=directory,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a sweep that ends by itself; there is never a traceback."""
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in out + err, out + err
    return process.returncode, out, err


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a running sweep does."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def lines_of(directory: Path) -> int:
    """How many whole lines a directory's journal has."""
    path = directory / JOURNAL
    return path.read_bytes().count(b"\n") if path.exists() else 0
