"""The table and the figures of the best plans: what is drawn is what planners and proofs say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from autodiff.checkpointing.optimal import Optimal
from autodiff.checkpointing.parse import planned, planner_of
from autodiff.errors import PlannerError
from autodiff.networks import chain
from experiments.errors import ConfigError
from experiments.figures.best_plans import draw_best_plans
from experiments.figures.storage_levels import draw_storage_levels
from experiments.figures.style import styled
from experiments.grid.config import sweep_config
from experiments.grid.subjects import best_plans
from experiments.measuring import best_plans as measuring
from experiments.measuring.best_plans import best_plans_of
from experiments.measuring.timing import Timing
from experiments.results.best_plans import BEST_PLANS, BEST_PLANS_COLUMNS, read_best_plans
from experiments.results.files import write_csv
from experiments.results.tables import Results, read_results
from experiments.sweeping import job
from profiler.graphs import profile
from profiler.programs import program_of
from tests.support.drawings import overlaps, unlabelled
from tests.support.sweeps import TINY

TINY_PLANS: dict[str, Any] = {
    "chain": {"n": 9, "d": 2, "b": 8},
    "unet": {"size": 8, "batch": 1},
}


@pytest.fixture(scope="module")
def plans() -> pd.DataFrame:
    """The plans of a tiny chain and a tiny U-Net, not run."""
    return best_plans_of(best_plans("best_plans", TINY_PLANS), execute=False)


@pytest.fixture(scope="module")
def proved(plans: pd.DataFrame) -> pd.DataFrame:
    """The same with proofs, of which one was not finished."""
    rows = plans[(plans["subject"] == "chain") & (plans["series"] == "optimal")].iloc[2:4]
    stars = rows.assign(series="proven", planner=["proven(1)", "proven(2)"], proved=[True, False])
    stars.loc[stars.index[1], "bound_ops"] = float(stars["bound_ops"].iloc[1]) * 0.9
    return pd.concat([plans, stars], ignore_index=True)


def results(frame: pd.DataFrame) -> Results:
    none = pd.DataFrame()
    return Results(Path("nowhere"), none, none, none, none, {}, best_plans=frame)


def timed(frame: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """The plans with times in proportion to their operations; the plain step takes `seconds`."""
    share = frame["ops"].astype(float) / frame.groupby("subject")["ops"].transform("first")
    return frame.assign(seconds=seconds * share, spread_seconds=0.1 * seconds)


def test_each_row_is_what_its_planner_gives(plans: pd.DataFrame) -> None:
    """Peak, operations and moved bytes are those of a profile of the planner's schedule."""
    network = chain(9, 2, 8, values=False)
    program = program_of(network.loss, network.weights)
    mine = plans[plans["subject"] == "chain"]
    assert {"store_all", "recompute_all", "uniform", "revolve", "optimal"} <= set(mine["series"])
    assert mine["moved_bytes"].max() > 0
    for row in mine[::5].itertuples():
        given, schedule = planned(program, planner_of(row.planner))
        found = profile(given, planner=planner_of(row.planner), execute=False)
        assert (found.peak_bytes, found.ops.total) == (row.peak_bytes, row.ops)
        assert schedule.claims.moved_bytes == row.moved_bytes


def test_no_plan_on_cells_lies_below_the_bound(plans: pd.DataFrame) -> None:
    """Within each limit, no plan of the chain in memory takes less than its bound."""
    mine = plans[(plans["subject"] == "chain") & (plans["moved_bytes"] == 0)]
    bounds = mine[(mine["series"] == "optimal") & mine["bound_ops"].notna()]
    assert len(bounds) > 5
    for bound, plan in itertools.product(bounds.itertuples(), mine.itertuples()):
        assert plan.peak_bytes > bound.limit_bytes or plan.ops >= bound.bound_ops
    assert (bounds["proved"] == (bounds["ops"] == bounds["bound_ops"])).all()


@pytest.mark.parametrize("seconds", [None, 0.001, 0.05])
def test_the_best_plans_are_drawn(proved: pd.DataFrame, seconds: float | None) -> None:
    """Every text is legible; a panel of seconds is there only where a step takes 20 ms."""
    frame = proved if seconds is None else timed(proved, seconds)
    with styled("best_plans"):
        drawing = draw_best_plans(results(frame))
        assert drawing is not None
        assert overlaps(drawing.figure) == []
        assert unlabelled(drawing.figure) == []
        notes = " ".join(text.get_text() for text in drawing.figure.texts).replace("\n", " ")
    panels = [axes for axes in drawing.figure.axes if axes.get_visible()]
    assert len(panels) == (4 if seconds == 0.05 else 2)
    assert ("no panel of seconds: the shortest step takes 1 ms" in notes) == (seconds == 0.001)
    assert ("no panel of seconds: nothing was run" in notes) == (seconds is None)
    assert drawing.caption.startswith("How to read it")


def test_the_band_lies_between_what_is_found_and_what_is_proved(proved: pd.DataFrame) -> None:
    """At each height it begins at the bound of that many bytes and ends at the best plan within."""
    with styled("best_plans"):
        drawing = draw_best_plans(results(proved))
    assert drawing is not None
    mine = proved[(proved["subject"] == "chain") & (proved["series"] == "optimal")]
    plain = float(proved["ops"].iloc[0])
    boxes = [area.get_paths()[0].get_extents() for area in drawing.figure.axes[0].collections]
    assert len(boxes) > 5
    for box in boxes:
        middle = (box.y0 + box.y1) / 2
        best = mine.loc[mine["peak_bytes"] <= middle, "ops"].astype(float).min()
        assert box.x1 == pytest.approx(100 * (best / plain - 1))
        known = mine.loc[mine["limit_bytes"] >= middle, "bound_ops"]
        low = 100 * (float(known.max()) / plain - 1) if len(known) else 0.0
        assert box.x0 == pytest.approx(low)
    stars = [line for line in drawing.figure.axes[0].lines if line.get_marker() == "*"]
    assert len(stars) == 2


def test_the_title_compares_at_half_the_memory(proved: pd.DataFrame) -> None:
    """Its numbers are those of `Optimal` within half of the plain peak; planted plans change it."""
    network = chain(9, 2, 8, values=False)
    program = program_of(network.loss, network.weights)
    plain = profile(program, execute=False)
    best = Optimal(max_bytes=plain.peak_bytes // 2)(program)
    words = f"{100 * (best.cost / plain.ops.total - 1):.0f}% on the chain"
    for frame, is_there in ((proved, True), (proved.assign(ops=proved["ops"].iloc[0]), False)):
        with styled("best_plans"):
            drawing = draw_best_plans(results(frame))
        assert drawing is not None
        assert (words in drawing.title) == is_there


def test_levels_are_drawn_where_something_moves(plans: pd.DataFrame) -> None:
    """A row for the chain, whose plans move bytes, and none for plans in memory only."""
    with styled("storage_levels"):
        drawing = draw_storage_levels(results(plans))
        assert drawing is not None
        assert overlaps(drawing.figure) == []
        assert unlabelled(drawing.figure) == []
        still = plans.assign(moved_bytes=0)
        assert draw_storage_levels(results(still)) is None
    right = drawing.figure.axes[1]
    drawn = {float(x) for line in right.lines for x in np.asarray(line.get_xdata(), dtype=float)}
    mine = plans[plans["subject"] == "chain"]
    assert {float(moved) for moved in mine["moved_bytes"]} == drawn


def test_without_plans_there_is_no_figure() -> None:
    empty = results(pd.DataFrame(columns=list(BEST_PLANS_COLUMNS)))
    assert draw_best_plans(empty) is None
    assert draw_storage_levels(empty) is None


def test_long_steps_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of each planner are run where the plain step is long enough, else that one only."""
    asked = best_plans("best_plans", {"chain": {"n": 4, "d": 2, "b": 8}})
    ran: list[set[str]] = []

    def alternate(steps: dict[str, Any], rounds: int, warm_up: int) -> dict[str, Timing]:
        ran.append(set(steps))
        for step in steps.values():
            step()
        return {name: Timing(1e9, 2e8) for name in steps}

    monkeypatch.setattr(measuring, "alternate", alternate)
    monkeypatch.setattr(measuring, "LEAST_SECONDS", float("inf"))
    short = best_plans_of(asked)
    monkeypatch.setattr(measuring, "LEAST_SECONDS", 0)
    long = best_plans_of(asked)
    assert ran[0] == {"store_all"}
    assert len(ran[1]) > 5
    assert short["seconds"].dropna().tolist() == [1.0]
    assert set(long.loc[long["seconds"].notna(), "planner"]) == ran[1]
    monkeypatch.setattr(measuring, "available_bytes", lambda: 0)
    assert best_plans_of(asked)["seconds"].isna().all()


def test_what_is_not_installed_is_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the solver there are no proofs, without transformers no GPT-2; the rest is there."""

    def refuse(**sizes: int) -> Any:
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    def no_solver() -> None:
        raise PlannerError("proven(…) needs ortools")

    monkeypatch.setitem(measuring._PROGRAMS, "gpt2", refuse)
    monkeypatch.setattr(measuring, "solver_library", no_solver)
    given = {"chain": {"n": 2, "d": 2, "b": 2}, "gpt2": {}, "proof_seconds": 1}
    frame = best_plans_of(best_plans("best_plans", given), execute=False)
    assert set(frame["subject"]) == {"chain"}
    assert "proven" not in set(frame["series"])
    assert "no proofs among the best plans: proven(…) needs ortools" in caplog.text
    assert "the best plans lack gpt2: transformers is not installed" in caplog.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"chains": {}}, "unknown key best_plans.chains"),
        ({"chain": {"m": 3}}, "unknown key best_plans.chain.m"),
        ({"chain": {"n": 0}}, "best_plans.chain.n=0"),
        ({"proof_seconds": 2}, "best_plans names no network"),
        ({"chain": {}, "proof_seconds": -1}, "best_plans.proof_seconds=-1"),
        (3, "best_plans=3"),
    ],
)
def test_a_wrong_key_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sweep_config({**TINY, "best_plans": given})


@pytest.mark.slow
def test_a_sweep_writes_the_table_and_shows_the_figures(tmp_path: Path) -> None:
    """The table is read back as it was written, and the report has both figures."""
    given = {**TINY, "best_plans": {"chain": {"n": 9, "d": 2, "b": 8}}, "execute": False}
    given |= {"modes": ["full", "checkpointed"], "planners": ["revolve(snapshots=1)"]}
    given |= {"grid": {"n": 2, "d": 2, "b": 2}}
    assert job.run_job(given, tmp_path / "run")[0] == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in ("best_plans", "storage_levels"))
    read = read_results(tmp_path / "run").best_plans
    made = best_plans_of(best_plans("best_plans", given["best_plans"]), execute=False)
    for column in ("planner", "series", "peak_bytes", "ops", "proved", "moved_bytes"):
        assert read[column].tolist() == made[column].tolist()
    assert read["bound_ops"].dropna().tolist() == made["bound_ops"].dropna().tolist()


def test_damage_costs_the_damaged_lines(
    plans: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A word for a number is skipped with a line; what is no table is skipped whole."""
    write_csv(tmp_path / BEST_PLANS, plans)
    lines = (tmp_path / BEST_PLANS).read_text().splitlines(keepends=True)
    cells = lines[2].split(",")
    lines[2] = ",".join("many" if cell.isdigit() else cell for cell in cells)
    (tmp_path / BEST_PLANS).write_text("".join(lines))
    assert len(read_best_plans([tmp_path, tmp_path])) == len(plans) - 1
    assert "skipped 1 damaged line" in caplog.text
    for rubbish in ("", "a,b\n1,2\n", '"' * 7):
        (tmp_path / BEST_PLANS).write_text(rubbish)
        assert read_best_plans([tmp_path]).empty


def test_a_plan_that_is_planted_moves_its_mark(proved: pd.DataFrame) -> None:
    """The marks are the rows: another peak of one plan is drawn at another height."""
    moved = proved.copy()
    first = moved.index[moved["series"] == "revolve"][0]
    moved.loc[first, "peak_bytes"] += 1
    heights = []
    for frame in (proved, moved):
        with styled("best_plans"):
            drawing = draw_best_plans(replace(results(frame)))
        assert drawing is not None
        heights.append(
            [float(y) for line in drawing.figure.axes[0].lines for y in line.get_ydata()]
        )
    assert float(moved.loc[first, "peak_bytes"]) in heights[1]
    assert heights[0] != heights[1]
