"""What a directory is expected to hold: the keys of the points that its last command asked for, beside the rows that came of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from experiments.results.files import write_json

log = logging.getLogger("tapemeasure")

POINTS = "points.json"


def write_expected(directory: Path, keys: Iterable[str]) -> None:
    """Note what a command asks for, in the place of what an earlier one did."""
    write_json(directory / POINTS, sorted(keys))


def forget_expected(directory: Path) -> None:
    """Forget what an earlier command asked of a directory and of those below it."""
    for path in directory.rglob(POINTS):
        path.unlink()


def expected_below(directory: Path) -> set[str]:
    """The keys of all points that a directory, or else the jobs below it, were asked for; a file that is damaged counts as none."""
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
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return set()
    except (ValueError, RecursionError, OSError):
        found = None
    if isinstance(found, list) and all(isinstance(key, str) for key in found):
        return set(found)
    log.warning("%s is damaged and passed over: how many points were asked for is not known", path)
    return set()
