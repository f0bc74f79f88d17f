"""The rows of a study on the disk, each as soon as it is measured, so that a killed study resumes.

One JSON object a line, with the checksum of its config: rows of another config are left as they
are. The calls of a step are the same for all batches, so they are written once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.complexity.config import StudyConfig
from experiments.complexity.lattice import Shape
from experiments.complexity.measuring import Row
from experiments.complexity.moments import Call, Run
from experiments.results.files import read_bytes

JOURNAL = "shapes.jsonl"


class ShapeJournal:
    """The rows of one study in a file; `row(shape)` measures what the file does not have."""

    def __init__(
        self, path: Path, study: StudyConfig, measure: Callable[[tuple[int, ...]], Row]
    ) -> None:
        self._path = path
        self._measure = measure
        made_of = json.dumps([study.plain, study.letters, [v.name for v in study.variables]])
        self._study = f"{zlib.crc32(made_of.encode()):08x}"
        self._calls: dict[str, tuple[Call, ...]] = {}
        self._rows: dict[tuple[int, ...], Row] = {}
        self._read()

    @property
    def rows(self) -> list[Row]:
        """Return the rows that are known."""
        return list(self._rows.values())

    def row(self, shape: Shape, measure: Callable[[Shape], Row] | None = None) -> Row:
        """Return the row of a shape, from the file or measured now and appended.

        `measure` takes the place of the journal's own.
        """
        if shape not in self._rows:
            self._rows[shape] = row = (measure or self._measure)(shape)
            self._append(row)
        return self._rows[shape]

    def _read(self) -> None:
        if not self._path.exists():
            return
        for line in read_bytes(self._path).split(b"\n"):
            try:
                given = json.loads(line)
                if given["study"] == self._study:
                    self._admit(given)
            except (ValueError, KeyError, TypeError):  # a line torn when the process was killed
                continue

    def _admit(self, given: dict[str, Any]) -> None:
        if "calls" in given:
            self._calls[given["name"]] = tuple(Call(*map(str, one)) for one in given["calls"])
            return
        shape = tuple(map(int, given["shape"]))
        runs = {
            name: Run(self._calls[one["calls"]], tuple(map(int, one["live"])))
            for name, one in given["runs"].items()
        }
        sums = {str(name): int(value) for name, value in given["sums"].items()}
        apart = {str(op): int(nbytes) for op, nbytes in given["apart"].items()}
        self._rows[shape] = Row(shape, sums, runs, tuple(map(str, given["uncounted"])), apart)

    def _append(self, row: Row) -> None:
        lines: list[dict[str, Any]] = []
        runs = {}
        for name, run in row.runs.items():
            key = f"{zlib.crc32(repr(run.calls).encode()):08x}"
            if key not in self._calls:
                self._calls[key] = run.calls
                lines.append({"study": self._study, "name": key, "calls": run.calls})
            runs[name] = {"calls": key, "live": run.live}
        lines.append(
            {
                "study": self._study,
                "shape": row.shape,
                "sums": row.sums,
                "runs": runs,
                "uncounted": row.uncounted,
                "apart": row.apart,
            }
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.exists() and self._path.read_bytes()[-1:] != b"\n"
        with self._path.open("ab") as file:
            file.write((b"\n" if torn else b"") + b"".join(map(_line, lines)))


def _line(given: dict[str, Any]) -> bytes:
    return json.dumps(given).encode() + b"\n"
