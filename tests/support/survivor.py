"""Kills sweeps at random moments and compares what they leave behind with what they had.

    python -m tests.support.survivor DIRECTORY KILLS SEED

Run as a process by the tests of survival. Each sweep is a child that is forked from this process,
so that a kill costs milliseconds and not the start of PyTorch. A child is killed by SIGKILL after a
random time and started again in the same directory until it comes to its end; then the next
directory is begun. After each kill every whole row written before must be there, to the byte; at
the end each point must have one row, and the table must be those rows. It ends with a line of JSON:
kills, kills that left rows behind, sweeps finished, the greatest number of starts of one sweep.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring.point import measure
from experiments.reporting import publishing
from experiments.results.journal import JOURNAL
from experiments.results.tables import read_results
from experiments.sweeping import job
from tests.support.rows import journal_rows

SWEEP: dict[str, Any] = {
    "network": {"name": "chain", "activation": ["tanh", "gelu"], "loss": "sum"},
    "grid": {"n": [1, 2], "d": [2, 3, 4], "b": [2, 3]},
    "modes": ["no_grad", "forward", "full", "w1_only"],
    "audit": "both",
    "timeline": {"n": 2, "d": 2, "b": 2},
}
EXPECTED = {point.key for point in points_of(sweep_config(SWEEP))}
LONGEST_LIFE_S = 0.35


def begin(directory: Path) -> int:
    """Start a sweep in a forked child that says nothing; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    code, _ = job.run_job(SWEEP, directory)
    os._exit(code)


def live(directory: Path, seconds: float) -> int | None:
    """Let a sweep run for some seconds, then kill it; returns its exit code, None where it was
    killed.
    """
    pid = begin(directory)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return None if code == -signal.SIGKILL else code


def whole_lines(directory: Path) -> list[bytes]:
    """The whole lines of a directory's journal."""
    path = directory / JOURNAL
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def check_end(directory: Path) -> None:
    """Each point has one row, and the table is the rows; no part of a file is left."""
    rows = journal_rows(directory / JOURNAL)
    keys = [row.key for row in rows]
    assert len(keys) == len(set(keys)), "a row is doubled"
    assert set(keys) == EXPECTED, "a row is missing"
    table = read_results(directory).results
    assert table["key"].tolist() == keys, "the table is not the rows"
    assert table["ops"].tolist() == [row.ops for row in rows]
    assert (directory / "report.html").exists()
    assert not list(directory.rglob("*.partial")), "a part of a file is left"


def main() -> None:
    """The command line."""
    root, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(seed)
    # Figures have no part in what is kept, and take seconds.
    publishing.draw_figures = lambda results: {}
    measure(
        points_of(sweep_config(SWEEP))[0]
    )  # what is loaded late is loaded now, and not in each child
    counts = {"kills": 0, "kills_with_rows": 0, "finished": 0, "most_starts": 0}
    number = starts = 0
    while counts["kills"] < kills or starts:
        directory = root / str(number)
        before = whole_lines(directory)
        last = counts["kills"] >= kills
        code = live(directory, 600.0 if last else draw.uniform(0.0, LONGEST_LIFE_S))
        starts += 1
        after = whole_lines(directory)
        kept = [line for line in before if line.endswith(b"\n")]
        assert after[: len(kept)] == kept, "a row was lost or changed"
        if code is None:
            counts["kills"] += 1
            counts["kills_with_rows"] += bool(after)
            continue
        assert code == 0, f"exit code {code}"
        check_end(directory)
        counts["finished"] += 1
        counts["most_starts"] = max(counts["most_starts"], starts)
        number, starts = number + 1, 0
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
