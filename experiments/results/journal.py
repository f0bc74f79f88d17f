"""The journal of a directory: each row as soon as it is there, so that a killed sweep loses none.

A journal is a file of one JSON object a line, appended line by line, each with a checksum.
A process that is killed can at worst leave its last line torn; reading skips a line that is no
valid row, and `Journal` repairs the end before it appends. One process at a time writes a journal:
a lock that the system releases when the process ends refuses a second one.

Bound: SIGKILL loses nothing that was appended; when the whole machine loses power, the rows of one
second may be gone. On a file system without locks (or a system without `fcntl`) nothing refuses the
second writer.
"""

from __future__ import annotations

import json
import logging
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from experiments.errors import ResultsError
from experiments.results.files import check_regular, lock, naming
from experiments.results.frames import frame_of, frame_of_fields
from experiments.results.rows import Row
from experiments.text import counted

log = logging.getLogger("tapemeasure")

JOURNAL = "rows.jsonl"
SYNC_EVERY_S = 1.0
LINE_BYTES = 1 << 16
_CHECKSUM = b', "crc32": "'


def read_journal(path: Path) -> pd.DataFrame:
    """Return the valid rows of a journal; lines that are none are skipped, and counted in the log.

    Raises ResultsError if the path is no regular file.
    """
    try:
        check_regular(path, path.stat().st_mode)
        with path.open("rb") as file:
            rows, damaged = frame_of_fields(_fields_of_line(line) for line in file if line.strip())
    except FileNotFoundError:
        return frame_of([])
    # A line without its end is most likely being written at this moment.
    damaged -= bool(damaged) and _is_torn(_last_line(path)[1])
    if damaged:
        log.warning("%s: skipped %s", path, counted(damaged, "damaged line"))
    return rows


def rows_below(directory: Path) -> pd.DataFrame:
    """Return the rows of every journal in a directory and below it, as often as they are there."""
    journals = [read_journal(path) for path in sorted(directory.rglob(JOURNAL))]
    return pd.concat([rows for rows in journals if len(rows)] or [frame_of([])], ignore_index=True)


def line_of(row: Row) -> bytes:
    """Return the line of a row: its fields, then the checksum of the text before it."""
    body = json.dumps(vars(row), allow_nan=False).encode()[:-1]
    return body + _CHECKSUM + b'%08x"}\n' % zlib.crc32(body)


def _fields_of_line(line: bytes) -> dict[str, Any] | None:
    """Return the fields in a line, or None if it is damaged; older versions wrote no checksums."""
    body, has_checksum, end = line.rpartition(_CHECKSUM)
    if has_checksum and end.strip() != b'%08x"}' % zlib.crc32(body):
        return None
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _last_line(path: Path) -> tuple[int, bytes]:
    """Return what a file has after its last end of a line, and where that begins."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        reach = 0
        while True:  # a line is some thousand bytes long, a journal may be of gigabytes
            reach = min(size, 2 * reach + LINE_BYTES)
            file.seek(size - reach)
            end = file.read(reach).rpartition(b"\n")[2]
            if len(end) < reach or reach == size:
                return size - len(end), end


def _is_torn(line: bytes) -> bool:
    """Return whether a line without its end is not a whole row."""
    return bool(line.strip()) and frame_of_fields([_fields_of_line(line)])[0].empty


def taken(directory: Path) -> ResultsError:
    """Return the error for a directory that another sweep is writing."""
    return ResultsError(
        f"{directory} is being written by another sweep; expected one sweep at a time; "
        "wait for the other or use another directory"
    )


class Journal:
    """Appends rows to a directory's journal, each whole before the next point is run.

    Raises ResultsError if another process is writing the same journal or it is no regular file,
    OSError if the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / JOURNAL
        directory.mkdir(parents=True, exist_ok=True)
        if self.path.exists():  # a pipe or a device is not even opened
            check_regular(self.path, self.path.stat().st_mode)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._synced = time.monotonic()
        try:
            self._lock()
            self._repair()
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        try:
            is_ours = lock(self._file)
        except OSError:
            log.warning(
                "%s: this file system has no locks; do not run two sweeps in one directory",
                self.path,
            )
            return
        if not is_ours:
            raise taken(self.path.parent)

    def _repair(self) -> None:
        """End the last line if it is a whole row, else cut it off."""
        start, line = _last_line(self.path)
        if line.strip() and not _is_torn(line):
            self._write(b"\n")
        else:
            os.ftruncate(self._file, start)

    def append(self, row: Row) -> None:
        """Write one row.

        Raises OSError if the disk is full or not writable, and then leaves no part of the row
        behind; ResultsError if the journal itself was removed, since nobody could find the rows.
        """
        self._write(line_of(row))
        if os.fstat(self._file).st_nlink == 0:
            raise ResultsError(
                f"{self.path} was removed while the sweep wrote it; rows measured since are lost; "
                "run the same command again"
            )
        if time.monotonic() - self._synced >= SYNC_EVERY_S:
            self._sync()

    def _write(self, line: bytes) -> None:
        start = os.fstat(self._file).st_size
        try:
            while line:  # a disk that fills takes a part first, and says why at the next attempt
                line = line[os.write(self._file, line) :]
        except BaseException as error:
            os.ftruncate(self._file, start)
            if isinstance(error, OSError):
                raise naming(self.path, error) from error
            raise

    def _sync(self) -> None:
        # A file system may be unable to; an error of the disk is raised by the next write.
        with suppress(OSError):
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
