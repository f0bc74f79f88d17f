"""Whether a published table was edited: the manifest holds the SHA-256 of each.

A reader can check a table without this project: `sha256sum results.csv` gives the number in
manifest.json. Rows in a journal carry their own checksums. Neither is a signature: who changes the
manifest too is not noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from experiments.errors import ResultsError
from experiments.results.files import read_bytes

log = logging.getLogger("tapemeasure")

DIGESTS = "sha256"
"""The key of the manifest: the digest of each table by the name of its file."""


def digests_of(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those files that are there."""
    return {name: _digest(directory / name) for name in names if (directory / name).exists()}


def warn_of_edits(directory: Path, manifest: Path, names: Iterable[str]) -> None:
    """Log one line for each table that is not what its manifest says; raise nothing.

    Of the manifest, only what it says of these names counts.
    """
    expected = _read(manifest)
    for name in names:
        path = directory / name
        try:
            if name in expected and path.exists() and _digest(path) != expected[name]:
                log.warning(
                    "%s: its numbers were edited after publication; %s has another digest of it",
                    path,
                    manifest.name,
                )
        except (OSError, ResultsError):
            continue  # who reads the table says what is wrong with it


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _read(manifest: Path) -> Mapping[str, str]:
    try:
        found = json.loads(read_bytes(manifest)).get(DIGESTS, {})
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, AttributeError, RecursionError, ResultsError):
        return {}  # who reads the manifest says what is wrong with it
