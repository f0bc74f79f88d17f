"""Files that are whole or not there: written beside their place, brought to the disk, then put into it.

The name of what is beside its place says which process of which machine writes it: what such a process left behind when it was killed is
removed by the next one on the same machine. Another machine's cannot be known to be dead, and is left.
"""

from __future__ import annotations

import json
import os
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import pandas as pd  # half a second, which --help need not spend


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{_here()}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            with suppress(
                OSError
            ):  # a file system that cannot; after a power cut a new name must not stand for an empty file
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def clear_partials(directory: Path) -> None:
    """Remove what a process that was killed had begun to write beside its place; what a living one is writing stays."""
    for partial in [*directory.glob(".*.partial"), *directory.glob("*/.*.partial")]:
        host, pid = partial.name.split(".")[-3:-1]
        if host == _here() and re.fullmatch("[0-9]{1,9}", pid) and not psutil.pid_exists(int(pid)):
            partial.unlink(missing_ok=True)


def _here() -> str:
    """This machine's name, as a part of a file's."""
    return re.sub(r"[^\w-]", "-", socket.gethostname())[:64]


def lock(file: int) -> bool:
    """Take the lock of an open file or directory for this process, until it is closed or the process ends; False where another one has it.

    Raises OSError where the file system has no locks; on a system without `fcntl` everybody has the lock.
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
    """Write a table as CSV, whole or not at all."""
    write_text(path, frame.to_csv(index=False))


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")
