"""The report of a sweep: one page that opens offline, from its tables and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from experiments.analysis.advice import advice_of
from experiments.analysis.answers import GROUP, answers_of
from experiments.analysis.capacity import capacities_of
from experiments.analysis.constants import DIFFERENCES, check_claim
from experiments.analysis.engines import engines_of
from experiments.analysis.lessons import lessons_of
from experiments.analysis.selection import all_rows, points_words, source_words
from experiments.analysis.verdict import Verdict, verdict_of
from experiments.figures.data import shape_words
from experiments.figures.registry import FIGURES, FOLDER
from experiments.figures.timelines import first_shape
from experiments.fitting.result import UNDECIDED
from experiments.names import OK, SKIPPED, SOURCE, SOURCES, STORE_ALL, TIMEOUT
from experiments.reporting.latex import write_tables
from experiments.reporting.page import page_figures, render
from experiments.results.expected import expected_below
from experiments.results.files import write_text
from experiments.results.tables import Results
from experiments.results.timings import seconds_words
from experiments.text import counted, joined
from profiler.interactive import Panel, timeline_html
from profiler.units import human_bytes

REPORT = "report.html"
MOST_LOST = 200


def write_report(results: Results) -> Path:
    """Write the page of a sweep with the figures in its directory, and its tables for LaTeX.

    Return the path of the page.
    """
    rows = all_rows(results.shown())
    verdict = verdict_of(rows)
    lost = rows[rows["status"] != OK]
    answers = answers_of(results.complexity)
    decided = [case for case in answers if case.decided]
    complexity, advice = _complexity(results.complexity), advice_of(rows)
    capacities, summary = capacities_of(results.capacity), _summary(rows)
    figures = page_figures(results.directory / FOLDER, FIGURES)
    page = render(
        "report.html.jinja",
        verdict=verdict,
        source=source_words(rows),
        headline=headline(rows),
        alarms=alarms(verdict, missing_points(results.directory, rows)),
        seconds=seconds_words(rows, results.concurrent),
        summary=summary,
        answers=decided,
        open_answers=[case for case in answers if not case.decided],
        differences=_differences(rows),
        lessons=lessons_of(rows),
        advice=advice,
        capacities=capacities,
        engines=engines_of(rows),
        drawn={figure.name: figure for figure in figures},
        **_timeline(results.timelines),
        complexity=complexity,
        lost=[_lost(row) for row in lost.head(MOST_LOST).to_dict("records")],
        more_lost=max(0, len(lost) - MOST_LOST),
        made=made_with(results.manifest),
        config=_config(results.manifest),
    )
    write_tables(results.directory, decided, complexity, advice, capacities, summary)
    path = results.directory / REPORT
    write_text(path, page)
    return path


def _config(manifest: dict[str, Any]) -> str:
    """Return the config of a manifest as text."""
    return json.dumps(manifest["config"], indent=2) if "config" in manifest else ""


class Headline(NamedTuple):
    """The verdict in words: its tone (good, bad, open), a sentence, and further sentences."""

    tone: str
    words: str
    details: list[str]


def headline(rows: pd.DataFrame) -> Headline:
    """Return the verdict on rows in words.

    It says how many points were measured and predicted, and in how many rows what was compared.
    """
    verdict, points = verdict_of(rows), points_words(rows)
    is_mixed = bool(verdict.measured and verdict.predicted)
    what = "prediction" if verdict.predicted else "measurement"
    what = "measurement and prediction" if is_mixed else what
    if verdict.agrees is None:
        tone, words = "open", f"{points}; {verdict.words}."
    elif verdict.agrees:
        tone, equals = "good", "equal" if is_mixed else "equals"
        words = f"{points}; {what} {equals} theory exactly: {verdict.words}."
    else:
        tone, differs = "bad", "DIFFER" if is_mixed else "DIFFERS"
        words = (
            f"{points}; {what} {differs} from theory in {verdict.differing:,} of "
            f"{counted(verdict.compared, 'row')}, {verdict.distance}: {verdict.words}."
        )
    details = _of_each_source(rows) if is_mixed else []
    return Headline(tone, words, [*details, *_audits(rows)])


def _of_each_source(rows: pd.DataFrame) -> list[str]:
    """Return how many measured rows agree with the theory, and how many predicted ones."""
    return [
        f"{source.capitalize()}: {verdict_of(rows[rows[SOURCE] == source]).words}."
        for source in SOURCES
    ]


def _audits(rows: pd.DataFrame) -> list[str]:
    """Return in how many points each audit agreed."""
    audits = rows.loc[rows["status"] == OK, "audit"]
    storages, scalars = (int(audits.str.contains(name).sum()) for name in ("storages", "scalars"))
    found = []
    if storages:
        found.append(
            f"In {counted(storages, 'point')} a tracker of PyTorch’s live storages, which shares "
            "no code with the ledger, agreed after every event."
        )
    if scalars:
        found.append(
            f"In {counted(scalars, 'point')} scalars that count their own arithmetic agreed with "
            "the declared operations."
        )
    return found


def alarms(verdict: Verdict, missing: int) -> list[str]:
    """Return what a reader must not overlook: points without numbers, and why they have none."""
    parts = []
    if verdict.lost:
        parts.append(f"{counted(verdict.lost, 'point')} failed or timed out")
    if verdict.skipped:
        parts.append(f"{counted(verdict.skipped, 'point')} skipped: not enough memory")
    if missing:
        parts.append(f"{counted(missing, 'point')} of the sweep not run yet")
    return [f"Not in these numbers: {joined(parts)}."] if parts else []


def missing_points(directory: Path, rows: pd.DataFrame) -> int:
    """Return how many points of the sweep, by its points.json if readable, have no row."""
    return len(expected_below(directory) - set(rows["key"]))


def _summary(rows: pd.DataFrame) -> list[dict[str, str]]:
    """Return one line for each part and mode."""
    lines = []
    for (part, mode), group in rows.groupby(["part", "mode"], sort=False):
        verdict, ok = verdict_of(group), group[group["status"] == OK]
        lines.append(
            {
                "part": part,
                "mode": mode,
                "points": f"{verdict.points:,}",
                "ran": ", ".join(
                    f"{count:,} {how}"
                    for how, count in (
                        ("measured", verdict.measured),
                        ("predicted", verdict.predicted),
                    )
                    if count
                ),
                "equal_ops": verdict.operations.share,
                "residual_ops": verdict.operations.residual,
                "equal_bytes": verdict.bytes.share,
                "residual_bytes": verdict.bytes.residual,
                "most_ops": f"{int(ok['ops'].max()):,}" if ok["ops"].notna().any() else "–",
                "peak": human_bytes(int(ok["peak_bytes"].max()))
                if ok["peak_bytes"].notna().any()
                else "–",
            }
        )
    return lines


def _differences(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the table of constants, each claim with the number of rows of which it is true."""
    table = []
    for difference in DIFFERENCES:
        claims = []
        for claim in difference.claims:
            true, of = check_claim(claim, rows)
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


def _timeline(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the steps of the timelines on one shape to explore, and which shape that is."""
    steps = first_shape(frame)
    if not steps:
        return {"timeline": "", "timeline_words": ""}
    panels = [Panel(series.label, rows) for series, rows in steps]
    shape = shape_words(steps[0][1].iloc[0])
    return {"timeline": Markup(timeline_html(panels)), "timeline_words": f" ({shape})"}


def _complexity(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return complexity.csv by network, for reading."""
    if table.empty:
        return []
    cases = []
    for labels, group in table.groupby(list(GROUP), sort=False):
        rows = []
        for row in group.to_dict("records"):
            mode = (
                row["mode"] if row["planner"] == STORE_ALL else f"{row['mode']}: {row['planner']}"
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
        decided = [row for row in rows if row["formula"] != UNDECIDED]
        undecided = [row for row in rows if row["formula"] == UNDECIDED]
        words = ", ".join(map(str, labels))
        cases.append({"words": words, "decided": decided, "undecided": undecided})
    return cases


def _lost(row: dict[str, Any]) -> dict[str, str]:
    """Return a point without numbers, in words."""
    more = [
        str(row[name])
        for name in ("wrt", "planner")
        if row[name] and row["mode"] in ("only", "checkpointed")
    ]
    shape = f"n={row['n']} d={row['d']} b={row['b']}"
    point = " ".join(
        [str(row["engine"]), f"{row['activation']}+{row['loss']}", shape, str(row["mode"]), *more]
    )
    words = {SKIPPED: "skipped: not enough memory", TIMEOUT: "timed out"}
    status = words.get(row["status"], str(row["status"]))
    return {"status": status, "point": point, "reason": str(row["reason"])}


def made_with(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the manifest as lines of a table, without the config."""
    versions = manifest.get("versions", {})
    shown = {
        "commit": manifest.get("commit"),
        "processor": manifest.get("cpu"),
        "cores, threads used": f"{manifest.get('cores')}, {manifest.get('threads')}"
        if "cores" in manifest
        else None,
        "clock": f"{manifest['frequency_mhz']:.0f} MHz" if manifest.get("frequency_mhz") else None,
        "memory": human_bytes(manifest["memory_bytes"]) if manifest.get("memory_bytes") else None,
        "load at the start": f"{manifest['load_average']:.2f}"
        if manifest.get("load_average") is not None
        else None,
        "system": manifest.get("system"),
        "Python": manifest.get("python"),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()) or None,
    }
    return [(name, str(value)) for name, value in shown.items() if value is not None]


def closing_line(results: Results) -> str:
    """Return the verdict on all rows in one sentence."""
    return headline(all_rows(results)).words
