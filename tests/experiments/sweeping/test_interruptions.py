"""Sweeps that the system ends: signals, a lost terminal, a launching process that is killed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from experiments.cli import interrupts
from experiments.results.tables import read_results
from tests.support.paths import ROOT
from tests.support.running import SMALL, ended, lines_of, start, until


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_sweep_with_its_rows_reported(
    tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM and SIGHUP end a sweep as Ctrl-C does: the rows reported, the resuming command
    printed, the exit code 128 plus the signal.
    """
    process = start(
        tmp_path, *SMALL, "planners=['tests.support.deadly:endless']", "hydra.run.dir=run"
    )
    until(lambda: lines_of(tmp_path / "run") == 1, process)
    process.send_signal(number)
    code, out, err = ended(process)
    assert code == 128 + number
    assert "interrupted; saved 1 of 4 points; resume with: python -m experiments.sweep" in out + err
    assert len(read_results(tmp_path / "run").results) == 1
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_a_sweep_whose_terminal_is_closed_reports_its_rows(tmp_path: Path) -> None:
    """Where the terminal is gone, as after a lost connection, nothing can be printed; the rows are
    merged and reported, and the log has the resuming command.
    """
    master, slave = pty.openpty()
    run = tmp_path / "run"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _WITH_TERMINAL, *SMALL),
            *("planners=['tests.support.deadly:endless']", f"hydra.run.dir={run}"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        text=True,
    )
    os.close(slave)
    until(lambda: lines_of(run) == 1, process)
    os.close(master)
    assert process.wait(timeout=300) == 128 + signal.SIGHUP
    assert (run / "report.html").exists()
    assert "interrupted; saved 1 of 4 points; resume with:" in (run / "sweep.log").read_text()


_WITH_TERMINAL = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
from experiments.cli.interrupts import end_quietly
end_quietly()
from experiments.sweep import main
main()
"""


def test_a_signal_that_was_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup SIGHUP does not end a sweep; handlers of others are left as they are too."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interrupts.end_quietly()
        interrupts.listen()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        with pytest.raises(interrupts.Interrupted) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert interrupts.exit_code_of(caught.value) == 143
        with interrupts.ending_quietly():
            assert signal.getsignal(signal.SIGTERM) is interrupts._leave
        assert signal.getsignal(signal.SIGTERM) is interrupts._interrupt
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
def test_workers_end_with_a_killed_launcher(tmp_path: Path) -> None:
    """Where the launching process is killed, joblib's workers end and begin no other job; the
    resumed sweep finds the directory free.
    """
    arguments = (
        *("--multirun", *SMALL, "grid.n=1,2,3,4", "hydra/launcher=joblib", "hydra.sweep.dir=all"),
        "hydra.launcher.n_jobs=2",
    )
    process = start(tmp_path, *arguments, "planners=['tests.support.deadly:endless_from_two']")
    until(lambda: lines_of(tmp_path / "all" / "1") == 1, process)
    started = psutil.Process(process.pid).children(recursive=True)
    assert any("loky" in " ".join(one.cmdline()) for one in started)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    assert not (tmp_path / "all" / "3").exists()
    code, out, err = ended(start(tmp_path, *arguments, "planners=['store_all']"))
    assert code == 0, out + err
