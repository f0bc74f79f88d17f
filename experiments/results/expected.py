"""What a directory is expected to hold: the keys of the points that its last command asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from experiments.errors import ResultsError
from experiments.results.files import read_bytes, write_json

log = logging.getLogger("tapemeasure")

POINTS = "points.json"


def write_expected(directory: Path, keys: Iterable[str]) -> None:
    """Write the keys that a command asks for, in the place of an earlier command's."""
    write_json(directory / POINTS, sorted(keys))


def forget_expected(directory: Path) -> None:
    """Remove what an earlier command asked of a directory and of those below it."""
    for path in directory.rglob(POINTS):
        path.unlink()


def expected_below(directory: Path) -> set[str]:
    """Return the keys that a directory, or else the jobs below it, were asked for.

    A damaged file counts as none.
    """
    whole = _read(directory / POINTS)
    return (
        whole
        if whole
        else {
            key
            for path in directory.rglob(POINTS)
            if path.parent != directory
            for key in _read(path)
        }
    )


def _read(path: Path) -> set[str]:
    try:
        found = json.loads(read_bytes(path))
    except FileNotFoundError:
        return set()
    except (ValueError, RecursionError, OSError, ResultsError):
        found = None
    if isinstance(found, list) and all(isinstance(key, str) for key in found):
        return set(found)
    log.warning("skipped a damaged file, so missing points are not counted: %s", path)
    return set()
