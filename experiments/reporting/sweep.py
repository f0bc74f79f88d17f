"""The report of a sweep: one page that opens offline, from its tables and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.analysis.advice import advice_of
from experiments.analysis.answers import CASE, DIFFERENCES, answers_of, held_against
from experiments.analysis.capacity import capacities_of
from experiments.analysis.engines import engines_of
from experiments.analysis.lessons import lessons_of
from experiments.analysis.verdict import Verdict, verdict_of
from experiments.figures.registry import FIGURES, FOLDER
from experiments.fitting.result import UNDECIDED
from experiments.reporting.page import page_figures, render
from experiments.results.expected import expected_below
from experiments.results.files import write_text
from experiments.results.tables import Results
from experiments.results.timings import seconds_words
from experiments.text import counted, joined
from profiler.units import human_bytes

REPORT = "report.html"
MOST_LOST = 200


def write_report(results: Results) -> Path:
    """Write the page of a sweep, with the figures that lie in its directory; returns its path."""
    shown = results.shown()
    rows = pd.concat(
        [frame for frame in (shown.results, shown.scale) if len(frame)] or [shown.results],
        ignore_index=True,
    )
    verdict = verdict_of(rows)
    lost = rows[rows["status"] != "ok"]
    answers = answers_of(results.complexity)
    figures = page_figures(results.directory / FOLDER, FIGURES)
    page = render(
        "report.html.jinja",
        verdict=verdict,
        headline=headline(verdict, rows),
        alarms=alarms(verdict, missing_points(results.directory, rows)),
        seconds=seconds_words(rows, results.concurrent),
        summary=_summary(rows),
        answers=[case for case in answers if case.decided],
        open_answers=[case for case in answers if not case.decided],
        differences=_differences(rows),
        lessons=lessons_of(rows),
        advice=advice_of(rows),
        capacities=capacities_of(results.capacity),
        engines=engines_of(rows),
        figures=figures,
        drawn={figure.name for figure in figures},
        complexity=_complexity(results.complexity),
        lost=[_lost(row) for row in lost.head(MOST_LOST).to_dict("records")],
        more_lost=max(0, len(lost) - MOST_LOST),
        made=made_with(results.manifest),
        config=json.dumps(results.manifest["config"], indent=2)
        if "config" in results.manifest
        else "",
    )
    path = results.directory / REPORT
    write_text(path, page)
    return path


def headline(verdict: Verdict, rows: pd.DataFrame) -> dict[str, Any]:
    """The verdict in words: its tone (good, bad, open), the sentence, and what else belongs to it."""
    points = counted(verdict.measured, "point")
    details = []
    if verdict.agrees is None:
        tone, words = "open", f"{points} measured; there is no theory to hold them against."
    elif verdict.agrees:
        tone = "good"
        words = f"{points} measured; measurement equals theory exactly: yes. The greatest residual is 0 operations and 0 bytes."
        if verdict.compared < verdict.measured:
            details.append(f"{verdict.compared:,} of them have a theory to be held against.")
    else:
        tone = "bad"
        words = (
            f"{points} measured; measurement equals theory exactly: NO. It does not in {verdict.differing:,} of {counted(verdict.compared, 'row')}, by up "
            f"to {counted(verdict.greatest_ops, 'operation')} and {counted(verdict.greatest_bytes, 'byte')}."
        )
    audits = rows.loc[rows["status"] == "ok", "audit"]
    storages, scalars = (int(audits.str.contains(name).sum()) for name in ("storages", "scalars"))
    if storages:
        details.append(
            f"In {counted(storages, 'point')} a tracker of PyTorch’s live storages, which shares no code with the ledger, agreed after every event."
        )
    if scalars:
        details.append(
            f"In {counted(scalars, 'point')} scalars that count their own arithmetic agreed with the declared operations."
        )
    return {"tone": tone, "words": words, "details": details}


def alarms(verdict: Verdict, missing: int) -> list[str]:
    """What a reader must not overlook: points that were lost, skipped, or never came to be measured."""
    parts = []
    if verdict.lost:
        parts.append(f"{counted(verdict.lost, 'point')} failed or ran out of time")
    if verdict.skipped:
        parts.append(f"{counted(verdict.skipped, 'point')} skipped for want of memory")
    if missing:
        parts.append(f"{counted(missing, 'point')} of the sweep not measured yet")
    return [f"Not in these numbers: {joined(parts)}."] if parts else []


def missing_points(directory: Path, rows: pd.DataFrame) -> int:
    """How many points of the sweep (its points.json, where there is one that can be read) have no row."""
    return len(expected_below(directory) - set(rows["key"]))


def _summary(rows: pd.DataFrame) -> list[dict[str, str]]:
    """One line for each part and mode."""
    lines = []
    for (part, mode), group in rows.groupby(["part", "mode"], sort=False):
        verdict, ok = verdict_of(group), group[group["status"] == "ok"]
        compared = verdict.compared > 0
        lines.append(
            {
                "part": part,
                "mode": mode,
                "points": f"{verdict.points:,}",
                "measured": f"{verdict.measured:,}",
                "residual_ops": f"{verdict.greatest_ops:,}" if compared else "–",
                "residual_bytes": f"{verdict.greatest_bytes:,}" if compared else "–",
                "most_ops": f"{int(ok['ops'].max()):,}" if ok["ops"].notna().any() else "–",
                "peak": human_bytes(int(ok["peak_bytes"].max()))
                if ok["peak_bytes"].notna().any()
                else "–",
            }
        )
    return lines


def _differences(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of constants, each claim with the rows it is true of."""
    table = []
    for difference in DIFFERENCES:
        claims = []
        for claim in difference.claims:
            true, of = held_against(claim, rows)
            claims.append({"words": claim.words, "true": true, "of": of})
        table.append(
            {
                "sheet": difference.sheet,
                "ours": difference.ours,
                "because": difference.because,
                "claims": claims,
            }
        )
    return table


def _complexity(table: pd.DataFrame) -> list[dict[str, Any]]:
    """complexity.csv by network, for the eye."""
    if table.empty:
        return []
    cases = []
    for labels, group in table.groupby(list(CASE), sort=False):
        rows = []
        for row in group.to_dict("records"):
            mode = (
                row["mode"] if row["planner"] == "store_all" else f"{row['mode']}: {row['planner']}"
            )
            known = {name: row[name] for name in ("quantity", "rows", "reason")}
            start = row["valid_from_n"] if row["formula"] != UNDECIDED else "–"
            rows.append(
                {
                    **known,
                    "mode": mode,
                    "order": str(row["pretty_order"]),
                    "formula": str(row["pretty_formula"]),
                    "valid_from_n": start,
                }
            )
        cases.append({"words": ", ".join(map(str, labels)), "rows": rows})
    return cases


def _lost(row: dict[str, Any]) -> dict[str, str]:
    """A point without a measurement, in words."""
    more = [
        str(row[name])
        for name in ("wrt", "planner")
        if row[name] and row["mode"] in ("only", "checkpointed")
    ]
    shape = f"n={row['n']} d={row['d']} b={row['b']}"
    point = " ".join(
        [str(row["engine"]), f"{row['activation']}+{row['loss']}", shape, str(row["mode"]), *more]
    )
    return {"status": str(row["status"]), "point": point, "reason": str(row["reason"])}


def made_with(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The manifest as lines of a table, without the config."""
    versions = manifest.get("versions", {})
    shown = {
        "commit": manifest.get("commit"),
        "processor": manifest.get("cpu"),
        "cores, threads used": f"{manifest.get('cores')}, {manifest.get('threads')}"
        if "cores" in manifest
        else None,
        "clock": f"{manifest['frequency_mhz']:.0f} MHz" if manifest.get("frequency_mhz") else None,
        "memory": human_bytes(manifest["memory_bytes"]) if manifest.get("memory_bytes") else None,
        "load when it began": f"{manifest['load_average']:.2f}"
        if manifest.get("load_average") is not None
        else None,
        "system": manifest.get("system"),
        "Python": manifest.get("python"),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()) or None,
    }
    return [(name, str(value)) for name, value in shown.items() if value is not None]


def closing_line(results: Results) -> str:
    """Return the verdict on all rows in one sentence."""
    rows = pd.concat([results.results, results.scale], ignore_index=True)
    return str(headline(verdict_of(rows), rows)["words"])
