"""Files that are whole or not there: written under another name, brought to the disk, then renamed.

The other name says which process of which machine writes the file: what a killed process left
behind is removed by the next one on the same machine. Of another machine's nobody can tell whether
it is still being written, so it stays.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from experiments.errors import ResultsError, one_line
from experiments.names import GREATEST_WHOLE

if TYPE_CHECKING:
    import pandas as pd  # half a second, which --help need not spend

# Apostrophes in front are ours, or look like ours: another one goes on and comes off again.
# The wide forms of = + - @ are run as well by spreadsheets of some languages.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises OSError, which names the file, if the disk is full or the directory not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{_here()}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            # After a power cut a new name must not stand for an empty file; some systems cannot.
            with suppress(OSError):
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise naming(path, error) from error
    finally:
        with suppress(OSError):  # a directory that cannot be written has no such file
            partial.unlink(missing_ok=True)


def naming(path: Path, error: OSError) -> OSError:
    """Return an error of the system with the file that was to be written, not an auxiliary one."""
    return error if error.errno is None else OSError(error.errno, error.strerror, str(path))


def clear_partials(directory: Path) -> None:
    """Remove what a killed process had begun to write; what a living one is writing stays."""
    for partial in [*directory.glob(".*.partial"), *directory.glob("*/.*.partial")]:
        host, pid = partial.name.split(".")[-3:-1]
        if host == _here() and re.fullmatch("[0-9]{1,9}", pid) and not psutil.pid_exists(int(pid)):
            partial.unlink(missing_ok=True)


def _here() -> str:
    """Return this machine's name, as a part of a file's."""
    return re.sub(r"[^\w-]", "-", socket.gethostname())[:64]


def lock(file: int) -> bool:
    """Lock an open file or directory until it is closed; return False if another process has it.

    Raises OSError if the file system has no locks; on a system without `fcntl` everybody has the
    lock.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_text(path: Path, content: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, content.encode())


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all; no spreadsheet runs its text as a formula.

    Half a surrogate pair, which UTF-8 cannot hold, is written as an escape.
    """
    texts = frame.select_dtypes(exclude="number").columns
    defused = frame.assign(**{name: frame[name].map(_defused) for name in texts})
    content = defused.to_csv(index=False)
    if "\r" in content:  # the csv module leaves it bare, and readers end the row there
        content = defused.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)
    write_bytes(path, content.encode(errors="backslashreplace"))


def read_csv(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Return a table that `write_csv` wrote, with each cell as text.

    Raises ResultsError if the path is no readable table or a column is missing.
    """
    import pandas as pd

    try:
        content = io.BytesIO(read_bytes(path))
        frame: pd.DataFrame = pd.read_csv(content, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise unreadable(path, one_line(error)) from error
    missing = [column for column in columns if column not in frame]
    if missing:
        raise unreadable(path, f"it has no column {missing[0]}")
    return frame.map(without_defusal)


def whole_numbers(cells: pd.Series[str]) -> pd.Series[int]:
    """Return the whole numbers from 0 to 2**63 - 1 in cells, and nothing for other cells."""
    import pandas as pd

    numbers = pd.to_numeric(cells, errors="coerce")
    is_whole = (numbers >= 0) & (numbers <= GREATEST_WHOLE) & (numbers % 1 == 0)
    return numbers.where(is_whole).astype("Int64")


def unreadable(path: Path, reason: str) -> ResultsError:
    """Return the error for a file that is there and cannot be read."""
    return ResultsError(
        f"{path} cannot be read ({reason}); expected a file that a sweep wrote; "
        "remove it, or run the sweep again"
    )


def read_bytes(path: Path) -> bytes:
    """Return what a regular file holds.

    Raises ResultsError if the path is anything else: reading a pipe waits for ever, a device has no
    end. Raises FileNotFoundError if there is no file.
    """
    check_regular(path, path.stat().st_mode)
    return path.read_bytes()


def check_regular(path: Path, mode: int) -> None:
    """Raise ResultsError unless a path with this mode is a regular file."""
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "directory"), (stat.S_ISFIFO, "named pipe"))
        kind = next((name for is_it, name in kinds if is_it(mode)), "device")
        raise ResultsError(f"{path} is a {kind}; expected a regular file; remove it")


def _defused(cell: Any) -> Any:
    """Return a text with an apostrophe before what a spreadsheet would run as a formula."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def without_defusal(cell: Any) -> Any:
    """Return a text as it was before it was written to a CSV."""
    return (
        cell[1:]
        if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell)
        else cell
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")
