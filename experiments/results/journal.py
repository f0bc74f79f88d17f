"""The journal of a directory: each row as soon as it is measured, so that a sweep that is killed loses none.

A journal is a file of one JSON object a line, appended a whole line at a time. A process that is killed can at worst leave its last line
torn; reading passes over a line that is no valid row, and `Journal` mends the end before it appends. One process at a time writes a
journal: a lock that the system releases when that process ends, however it ends, refuses a second one.

Bound: SIGKILL loses nothing that was appended; when the whole machine loses power, the rows of one second may be gone. On a
file system without locks (or a system without `fcntl`) nothing refuses the second writer.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from experiments.errors import ResultsError
from experiments.names import MEASURED, SOURCE
from experiments.results.files import lock
from experiments.results.rows import COLUMNS, problem_of

log = logging.getLogger("tapemeasure")

JOURNAL = "rows.jsonl"
SYNC_EVERY_S = 1.0


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The valid rows of a journal; lines that are none are passed over, and counted in the log."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = [_row_of_line(line) for line in lines if line.strip()]
    rows = [row for row in found if row is not None]
    # A line without its end is most likely being written at this moment.
    damaged = len(found) - len(rows) - bool(lines[-1].strip() and found and found[-1] is None)
    if damaged:
        log.warning("%s: %d damaged lines are passed over", path, damaged)
    return rows


def rows_below(directory: Path) -> list[dict[str, Any]]:
    """The rows of every journal in a directory and below it."""
    return [row for path in sorted(directory.rglob(JOURNAL)) for row in read_journal(path)]


def _row_of_line(line: bytes) -> dict[str, Any] | None:
    """The row that a line holds; None where it holds none."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict):
        return None
    row = {column: given.get(column) for column in COLUMNS}
    row[SOURCE] = given.get(SOURCE, MEASURED)  # rows of older versions were all measured
    return None if problem_of(row) else row


def taken(directory: Path) -> ResultsError:
    """The error for a directory that another sweep is writing."""
    return ResultsError(
        f"{directory} is being written by another sweep; expected to be alone in it; wait for the other or take another directory"
    )


class Journal:
    """Appends rows to a directory's journal, each whole before the next point is run.

    Raises ResultsError where another process is writing the same journal, OSError where the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / JOURNAL
        directory.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._synced = time.monotonic()
        try:
            self._lock()
            self._mend()
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        try:
            alone = lock(self._file)
        except OSError:
            log.warning(
                "%s: this file system has no locks; let no two sweeps write the same directory",
                self.path,
            )
            return
        if not alone:
            raise taken(self.path.parent)

    def _mend(self) -> None:
        """End the last line if it is a whole row, else cut it off."""
        whole = self.path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if _row_of_line(whole[end:]) is not None:
            self._write(b"\n")
        else:
            os.ftruncate(self._file, end)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row.

        Raises OSError where the disk is full or not writable, and then leaves no part of the row behind; ResultsError where the journal
        itself was removed, since rows would go into a file that nobody can find.
        """
        self._write((json.dumps(row, allow_nan=False) + "\n").encode())
        if os.fstat(self._file).st_nlink == 0:
            raise ResultsError(
                f"{self.path} was removed while the sweep wrote it; rows measured since are lost; run the same command again"
            )
        if time.monotonic() - self._synced >= SYNC_EVERY_S:
            self._sync()

    def _write(self, line: bytes) -> None:
        start = os.fstat(self._file).st_size
        try:
            while line:  # a disk that fills takes a part first, and says why at the next attempt
                line = line[os.write(self._file, line) :]
        except BaseException:
            os.ftruncate(self._file, start)
            raise

    def _sync(self) -> None:
        with suppress(
            OSError
        ):  # a file system that cannot; what is full or broken is told by the next write
            os.fsync(self._file)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sync()
        os.close(self._file)
