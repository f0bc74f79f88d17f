"""An index of runs: one page that links every report below a folder, with what was asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.errors import ResultsError
from experiments.reporting.page import render
from experiments.reporting.sweep import REPORT
from experiments.results.files import read_bytes, write_text
from experiments.results.manifest import sound
from experiments.results.tables import MANIFEST

INDEX = "index.html"
_SUMMARY = "summary.json"
"""The file of a module's profile, which holds its manifest under `made`."""

SWEEP, MODULE, UNKNOWN = "sweep", "module", "unknown"
"""What a run may be of."""


@dataclass(frozen=True)
class Run:
    """A report: its folder from the index's, when it was made, its kind, and its keys."""

    folder: str
    made: str
    kind: str
    keys: Mapping[str, str]
    commit: str


def write_index(folder: Path) -> Path:
    """Write `index.html` with every report below a folder, the newest first; return its path.

    Raises ResultsError where there is none.
    """
    runs = sorted(_runs_below(folder), key=lambda run: run.made, reverse=True)
    if not runs:
        raise ResultsError(
            f"no {REPORT} below {folder}; expected a folder that sweeps or profiles wrote into, "
            "such as outputs"
        )
    shown = [(run, _words(run, runs)) for run in runs]
    path = folder / INDEX
    write_text(path, render("runs.html.jinja", folder=folder.name or str(folder), runs=shown))
    return path


def _runs_below(folder: Path) -> Iterator[Run]:
    for report in folder.rglob(REPORT):
        kind, found = recorded(report.parent)
        keys = {"keys": "unknown"} if found is None else dict(flat_keys(made_of(found)))
        made = datetime.fromtimestamp(report.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")
        commit = "" if found is None else str(made_of(found).get("commit", ""))
        yield Run(report.parent.relative_to(folder).as_posix(), made, kind, keys, commit)


def recorded(directory: Path) -> tuple[str, dict[str, Any] | None]:
    """Return of what a run is, and the object that its file holds; None where that is damaged."""
    for name, kind in ((MANIFEST, SWEEP), (_SUMMARY, MODULE)):
        try:
            found = json.loads(read_bytes(directory / name))
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError, ResultsError):
            return kind, None
        return kind, found if isinstance(found, dict) else None
    return UNKNOWN, None


def made_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest in what a run recorded, where it is valid."""
    made = found.get("made", found)
    return sound(made) if isinstance(made, dict) else {}


def flat_keys(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return every key of a manifest's config with its path and its value as text."""
    return _flat(manifest.get("config", {}))


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", json.dumps(value, default=str)


def _words(run: Run, runs: list[Run]) -> str:
    """Return the keys by which a run differs from most runs of its kind."""
    alike = [other for other in runs if other.kind == run.kind]
    found = []
    for name, value in run.keys.items():
        counts = Counter(other.keys.get(name) for other in alike)
        usual, times = counts.most_common(1)[0]
        if value != usual or (times == 1 and len(alike) > 1):
            found.append(f"{name}={value}")
    return " ".join(found) or "as usual"
