"""Seconds that count: what ran while other jobs did is left out of everything that shows seconds,
and counted, unless it is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments.analysis.advice import advice_of
from experiments.analysis.comparison import compare_rows
from experiments.analysis.plans import plan_groups
from experiments.figures import registry
from experiments.figures.registry import drawings
from experiments.report import main
from experiments.reporting import sweep as page
from experiments.reporting.sweep import write_report
from experiments.results.files import write_csv, write_json
from experiments.results.tables import Results
from experiments.results.timings import (
    WALL,
    left_out_of,
    left_out_words,
    seconds_that_count,
    seconds_words,
)
from tests.support.sweeps import MODES, SMALL, results_of, with_scale

OF_SECONDS = ("frontier", "engines", "seconds")
PLANS = {
    **SMALL,
    "grid": {"n": [2, 4], "d": [2], "b": [4, 16]},
    "modes": [*MODES, "checkpointed"],
    "planners": ["recompute_all", "uniform(segments=2)"],
    "engine": ["autodiff", "pytorch"],
    "studies": {},
}


def timed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with seconds: a second for each ten operations."""
    for phase in ("forward", "recompute", "backward"):
        frame[f"wall_ns_{phase}"] = (frame[f"ops_{phase}"].astype(float) * 1e8).astype("Float64")
    return frame


@pytest.fixture(scope="module")
def alone() -> Results:
    """A small sweep of both engines and some planners, timed, nowhere written yet."""
    results = with_scale(results_of(PLANS, Path("nowhere")))
    return replace(results, results=timed(results.results), scale=timed(results.scale))


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the figures those that show seconds."""
    few = {name: registry.FIGURES[name] for name in OF_SECONDS}
    monkeypatch.setattr(registry, "FIGURES", few)
    monkeypatch.setattr(page, "FIGURES", few)


def beside(results: Results, *, every: bool = True) -> Results:
    """The same results, measured while other jobs ran: all rows, or every other one."""
    frames = {}
    for name in ("results", "scale"):
        frame: pd.DataFrame = getattr(results, name)
        frames[name] = frame.assign(
            concurrent=[every or not index % 2 for index in range(len(frame))]
        )
    return replace(results, **frames)


def words_of(drawing: registry.Drawing) -> str:
    """All that is written on a drawing."""
    texts = [text.get_text() for text in drawing.figure.texts]
    return " ".join(" ".join(texts).split())


def axis_labels(drawing: registry.Drawing) -> list[str]:
    """What a drawing shows, panel by panel."""
    return [axes.get_xlabel() for axes in drawing.figure.axes]


def test_concurrent_rows_lose_their_seconds_and_nothing_else(alone: Results) -> None:
    """Every other column is as it was, the rows of others are untouched, and each row is still
    there.
    """
    rows = beside(alone, every=False).scale
    counted = seconds_that_count(rows)
    assert left_out_of(counted) == rows["concurrent"].sum() > 0
    assert counted.loc[counted["concurrent"], list(WALL)].isna().all(axis=None)
    rest = [name for name in rows if name not in WALL]
    assert counted["key"].is_unique
    pd.testing.assert_frame_equal(
        counted[rest].set_index("key").loc[rows["key"]], rows[rest].set_index("key")
    )
    kept = counted[~counted["concurrent"]][list(rows)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, rows[~rows["concurrent"]].reset_index(drop=True))
    pd.testing.assert_frame_equal(seconds_that_count(counted), counted)


def test_concurrent_rows_count_where_they_are_asked_for(alone: Results) -> None:
    """Asked for, they keep their seconds, and the report says that they are among them."""
    rows = beside(alone).scale
    counted = seconds_that_count(rows, concurrent=True)
    pd.testing.assert_frame_equal(counted[list(rows)], rows)
    assert left_out_words(counted) == ""
    assert seconds_words(counted, concurrent=True).startswith(
        f"Timings include {len(rows)} rows measured while other jobs ran"
    )
    assert seconds_words(seconds_that_count(alone.scale), concurrent=True) == ""
    assert seconds_words(seconds_that_count(alone.scale), concurrent=False) == ""


def test_a_row_without_seconds_is_not_left_out(alone: Results) -> None:
    """A concurrent row that was never timed, since it was made from shapes alone, is not counted
    among those left out.
    """
    rows = beside(alone).results.assign(
        **dict.fromkeys(WALL, pd.array([pd.NA] * len(alone.results), dtype="Float64"))
    )
    assert left_out_of(seconds_that_count(rows)) == 0


@pytest.mark.usefixtures("few_figures")
def test_figures_of_seconds_leave_concurrent_rows_out(alone: Results) -> None:
    """No panel of seconds is drawn of rows that all ran while others did; of those that ran in part
    alone the caption says how many are missing.
    """
    shown = drawings(alone)
    assert set(shown) == set(OF_SECONDS)
    assert all(
        any("time" in label for label in axis_labels(drawing))
        for name, drawing in shown.items()
        if name != "seconds"
    )
    assert not any("other jobs ran" in words_of(drawing) for drawing in shown.values())
    hidden = drawings(beside(alone))
    assert set(hidden) == {"frontier", "engines"}
    for drawing in hidden.values():
        assert not any("time" in label for label in axis_labels(drawing))
        assert "rows measured while other jobs ran" in words_of(drawing)
    some = drawings(beside(alone, every=False))["seconds"]
    assert (
        f"timings exclude {(len(alone.scale) + 1) // 2} rows measured while other jobs ran"
        in words_of(some)
    )


@pytest.mark.usefixtures("few_figures")
def test_figures_of_seconds_are_the_same_where_concurrent_rows_are_asked_for(
    alone: Results,
) -> None:
    """With `concurrent` every panel is there again, and no caption says that something
    is missing.
    """
    asked = drawings(replace(beside(alone), concurrent=True))
    assert {name: axis_labels(drawing) for name, drawing in asked.items()} == {
        name: axis_labels(drawing) for name, drawing in drawings(alone).items()
    }
    assert not any("other jobs ran" in words_of(drawing) for drawing in asked.values())


def test_advice_has_no_seconds_of_concurrent_rows(alone: Results) -> None:
    """Plans are weighed by seconds only where they ran alone."""
    rows = pd.concat([alone.results, alone.scale], ignore_index=True)
    assert any(
        "× the time" in sentence for advice in advice_of(rows) for sentence in advice.sentences
    )
    crowded = seconds_that_count(rows.assign(concurrent=True))
    assert not any(
        "× the time" in sentence for advice in advice_of(crowded) for sentence in advice.sentences
    )
    assert all(
        plan.seconds is None
        for group in plan_groups(crowded)
        for plan in (*group.plans, *group.theirs, group.full)
    )


def test_a_shape_that_was_also_measured_alone_keeps_its_seconds(alone: Results) -> None:
    """Of a step that was measured while others ran and then alone, the seconds of the second row
    count.
    """
    first = alone.results.assign(concurrent=True)
    both = seconds_that_count(pd.concat([first, alone.results], ignore_index=True))
    assert all(
        plan.seconds is not None
        for group in plan_groups(both)
        for plan in (*group.plans, group.full)
    )


def test_times_are_compared_of_rows_that_ran_alone(alone: Results) -> None:
    """A comparison has times only of rows that ran alone, says how many did not, and counts
    them where it is asked to.
    """
    ours, theirs = alone.scale, beside(alone).scale
    assert compare_rows([ours, ours]).times == ""
    left_out = compare_rows([ours, theirs])
    assert left_out.table["seconds_2"].isna().all()
    assert f"Timings exclude {len(theirs)} rows" in left_out.times
    asked = compare_rows([ours, theirs], concurrent=True)
    assert (asked.table["seconds_1"] == asked.table["seconds_2"]).all()
    assert asked.times == ""
    pd.testing.assert_frame_equal(
        left_out.table.drop(columns="seconds_2"), asked.table.drop(columns="seconds_2")
    )


@pytest.mark.slow
@pytest.mark.usefixtures("few_figures")
def test_the_report_counts_what_it_leaves_out(
    alone: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page says how many rows' seconds are left out and how to see them; `--concurrent` shows
    them and says so; tables keep them.
    """
    crowded = replace(beside(alone), directory=tmp_path)
    for name in ("results", "scale", "complexity", "timelines"):
        write_csv(tmp_path / f"{name}.csv", getattr(crowded, name))
    write_json(tmp_path / "manifest.json", crowded.manifest)
    tables = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    count = f"{len(crowded.results) + len(crowded.scale):,}"
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"Timings exclude {count} rows measured while other jobs ran" in page
    assert "python -m experiments.report DIR --concurrent" in page
    assert not (tmp_path / "figures" / "seconds.svg").exists()
    assert main([str(tmp_path), "--concurrent"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"Timings include {count} rows measured while other jobs ran" in page
    assert (tmp_path / "figures" / "seconds.svg").exists()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} == tables
    assert "error" not in capsys.readouterr().err
    assert (
        "Seconds"
        not in write_report(replace(alone, directory=tmp_path)).read_text().split("<nav>")[0]
    )
