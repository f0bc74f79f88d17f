"""Figures and sections about checkpointing, PyTorch and the lessons: what they claim is computed
from the rows, and a planted row changes it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from autodiff.checkpointing import parse
from autodiff.errors import PlannerError
from autodiff.levels import moves_of
from autodiff.networks import chain
from experiments import theory
from experiments.analysis.advice import advice_of
from experiments.analysis.growth import (
    DISTANT,
    growth_table,
    growths_of,
    slope_of,
    theory_layers,
)
from experiments.analysis.lessons import lessons_of
from experiments.analysis.plans import plan_groups
from experiments.figures import registry
from experiments.figures.growth import layer_slope, layers_run
from experiments.figures.registry import FIGURES
from experiments.figures.schedule_events import bars_of, blocks_of, moves_in
from experiments.figures.style import Drawing, styled
from experiments.fitting.table import COMPLEXITY_COLUMNS
from experiments.grid.config import sweep_config
from experiments.measuring.timelines import timelines_of
from experiments.reporting import sweep as reporting_sweep
from experiments.results.tables import Results
from profiler.programs import program_of
from profiler.units import human_bytes
from tests.support.drawings import ELSEWHERE, overlaps, texts, unlabelled
from tests.support.pages import page_of
from tests.support.sweeps import PLANS, SMALL, expected, planted, results_of


@pytest.fixture(scope="module")
def drawn(planned: Results) -> dict[str, Drawing]:
    """Its figures that this file is about."""
    return draw(planned)


def draw(results: Results, names: tuple[str, ...] = ELSEWHERE) -> dict[str, Drawing]:
    """Those figures that the results have data for."""
    made = {}
    for name in names:
        with styled(name):
            drawing = FIGURES[name](results)
        if drawing is not None:
            made[name] = drawing
    return made


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_figure_is_drawn_and_legible(drawn: dict[str, Drawing], name: str) -> None:
    """The figure is there, no text of it touches another or the edge, and every panel's axes are
    labelled or shared.
    """
    figure = drawn[name].figure
    with styled(name):
        assert overlaps(figure) == []
        assert unlabelled(figure) == []
        shown = [axes for axes in figure.axes if axes.get_visible()]
        legends = [legend.get_window_extent() for legend in figure.legends]
        assert not any(box.overlaps(axes.get_window_extent()) for box in legends for axes in shown)
    assert drawn[name].caption.startswith("How to read it")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"network": {"name": "chain", "activation": "gelu", "loss": "squared_error"}},
            marks=pytest.mark.slow,
        ),
        {
            "network": {"name": "chain", "activation": "identity", "loss": "cross_entropy"},
            "grid": {"n": 6, "d": 3, "b": 5},
        },
        {"grid": {"n": [1, 2], "d": 2, "b": 3}, "planners": ["recompute_all"]},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {
                    "grid": {"n": 5, "d": 40, "b": 1},
                    "planners": ["uniform", "revolve(snapshots=2)"],
                    "engine": ["autodiff"],
                },
                {
                    "grid": {"n": 9, "d": 2, "b": 50},
                    "planners": ["revolve(max_ops_ratio=2.0)"],
                    "modes": ["checkpointed", "full"],
                },
                {
                    "grid": {"n": 40, "d": 2, "b": 8},
                    "planners": ["revolve(snapshots=3)", "revolve(snapshots=7)"],
                    "modes": ["checkpointed", "full"],
                },
                {"planners": ["store_all"]},
            )
        ),
        {"modes": ["checkpointed"], "planners": ["revolve(snapshots=2)"]},
    ],
)
def test_any_sweep_of_planners_can_be_drawn_and_told(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """One planner, budgets, other networks, no plain step to compare with: what can be drawn is
    legible, and the report is written.
    """
    given = {
        **PLANS,
        "execute": False,
        "studies": None,
        "timeline": {"n": 3, "d": 2, "b": 2},
        **changes,
    }
    made = results_of(given, tmp_path)
    for name, drawing in draw(made, (*ELSEWHERE, "timelines", "peaks")).items():
        with styled(name):
            assert overlaps(drawing.figure) == [], name
    assert "How it was made" in page_of(made).words


def test_the_frontier_says_what_falls_and_what_does_not(drawn: dict[str, Drawing]) -> None:
    """The numbers in the title are the theory's: the lowest peak and its price on wide batches, and
    the level that stays on wide layers.
    """
    full, lowest = (
        4 * expected("store_all").peak_elements,
        4 * expected("recompute_all").peak_elements,
    )
    title = drawn["frontier"].title
    assert f"from {human_bytes(full)} to {human_bytes(lowest)} for" in title
    stays = human_bytes(4 * theory.peak_elements("full", 6, 8, 2))
    assert f"where d = 8 and b = 2, no plan lowers the peak below {stays}" in title


@pytest.mark.parametrize(("name", "panels"), [("frontier", 2), ("engines", 2)])
def test_seconds_are_shown_where_they_mean_something(
    planned: Results, name: str, panels: int
) -> None:
    """Steps below 20 ms get no panel of seconds, and the figure says why; longer ones get one."""
    rows = planned.results
    longer = {column: 10**6 * rows[column] for column in rows if column.startswith("wall_ns_")}
    for swept, more in ((planned, 0), (replace(planned, results=rows.assign(**longer)), 1)):
        with styled(name):
            found = FIGURES[name](swept)
        assert found is not None
        assert len(found.figure.axes) == panels + more
        words = " ".join(" ".join(text for text, _ in texts(found.figure)).split())
        assert ("no panel of seconds" in words) == (not more)


def test_a_mark_off_the_frontiers_curves_is_told(
    planned: Results, drawn: dict[str, Drawing]
) -> None:
    """All marks meet the theory, and one that is moved is counted as missing it."""
    words = " ".join(text for text, _ in texts(drawn["frontier"].figure))
    assert "marks with a formula" in words
    assert "ONLY" not in words
    moved = planted(planned, "ops", 1, planner="revolve(snapshots=2)", d=2, b=16, n=6)
    with styled():
        wrong = FIGURES["frontier"](moved)
        assert wrong is not None
        assert "ONLY" in " ".join(text for text, _ in texts(wrong.figure))


def test_the_schedule_is_read_from_the_events(planned: Results) -> None:
    """Each layer is advanced once and reversed, as many are run again as the theory says, and no
    more is held than there are snapshots.
    """
    frame = planned.timelines[planned.timelines["planner"] == "revolve(snapshots=2)"]
    blocks, bars = blocks_of(frame, 5), bars_of(frame, 5)
    run = {
        kind: [block.layer for block in blocks if block.kind == kind and block.layer <= 5]
        for kind in ("advance", "recompute", "reverse")
    }
    assert run["advance"] == [1, 2, 3, 4, 5]
    assert len(run["recompute"]) == theory_layers(5, 2) - 5 > 0
    assert list(dict.fromkeys(run["reverse"])) == [5, 4, 3, 2, 1]
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    steps = int((frame["event"] == "computed").sum())
    assert blocks[-1].stop == steps
    held = [sum(bar.start <= step < bar.stop for bar in bars) for step in range(steps)]
    assert 2 <= max(held) <= 3  # the snapshot above x_1, and the two ends of the last two layers
    everything = planned.timelines[planned.timelines["mode"] == "full"]
    assert [bar.k for bar in sorted(bars_of(everything, 5), key=lambda bar: bar.k)] == [2, 3, 4, 5]
    assert not any(block.kind == "recompute" for block in blocks_of(everything, 5))


HREVOLVE = "hrevolve(snapshots=1, write=0.5, read=0.5)"


@pytest.fixture(scope="module")
def moved() -> Results:
    """Timelines of a chain with gelu: a plan that keeps tapes, and one that moves states."""
    timeline = {
        "n": 6,
        "d": 2,
        "b": 8,
        "network": {"activation": "gelu"},
        "modes": ["full", "checkpointed"],
        "planners": ["optimal(max_bytes=700)", HREVOLVE],
    }
    rows = timelines_of(sweep_config({**PLANS, "execute": False, "timeline": timeline}))
    none = pd.DataFrame()
    return Results(Path("nowhere"), none, none, none, rows, {})


def test_tapes_and_moves_are_drawn(moved: Results) -> None:
    """What a plan keeps of its layers is a dashed line, what it stores below memory a dotted one
    between two triangles; the moves are those of the plan, and in no block.
    """
    rows = moved.timelines[moved.timelines["planner"] == HREVOLVE]
    network = chain(6, 2, 8, activation="gelu", values=False)
    program, schedule = parse.planned(
        program_of(network.loss, network.weights), parse.planner_of(HREVOLVE)
    )
    pairs = list(moves_of(program).values())
    kinds = {store: "store" for store, _ in pairs} | {load: "load" for _, load in pairs}
    wanted = [(step, kinds[i]) for step, i in enumerate(schedule.order.tolist()) if i in kinds]
    moves = moves_in(rows)
    assert [(move.step, move.kind) for move in moves] == wanted
    assert {move.kind for move in moves} == {"store", "load"}
    inside = {step for one in blocks_of(rows, 6) for step in range(one.start, one.stop)}
    assert inside == set(range(len(schedule))) - {move.step for move in moves}
    below = [bar for bar in bars_of(rows, 6) if bar.kind == "below"]
    assert {bar.start for bar in below} == {step for step, kind in wanted if kind == "store"}
    tapes = {
        planner: [bar.k for bar in bars_of(one, 6) if bar.kind == "tape"]
        for planner, one in moved.timelines.groupby("planner")
    }
    assert sorted(tapes["store_all"]) == [1, 2, 3, 4, 5, 6]
    assert 0 < len(set(tapes["optimal(max_bytes=700)"])) < 6
    drawing = draw(moved, ("schedules",))["schedules"]
    with styled("schedules"):
        assert overlaps(drawing.figure) == []
    entries = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert {"kept of a layer (tape)", "stored", "loaded", "on the level below"} <= set(entries)
    (panel,) = [
        axes for axes in drawing.figure.axes if axes.get_title(loc="left") == "hrevolve, s = 1"
    ]
    triangles = [line for line in panel.lines if line.get_marker() in "v^"]
    assert len(triangles) == len(moves)


def test_a_schedule_in_memory_has_no_moves(planned: Results, drawn: dict[str, Drawing]) -> None:
    """Neither rows nor legend speak of levels where nothing is stored below."""
    assert moves_in(planned.timelines) == []
    entries = [text.get_text() for text in drawn["schedules"].figure.legends[0].get_texts()]
    assert not {"stored", "loaded", "on the level below"} & set(entries)


def test_the_titles_of_the_schedules_are_computed(drawn: dict[str, Drawing]) -> None:
    """Layers run forward and peaks in the title are the theory's."""
    title = drawn["schedules"].title
    peaks = [
        human_bytes(4 * expected(name, 5, 2, 8, **more).peak_elements)
        for name, more in (("store_all", {}), ("revolve", {"snapshots": 2}))
    ]
    assert f"store all (full) runs 5 layers forward and peaks at {peaks[0]}" in title
    assert (
        f"revolve, s = 2 runs {theory_layers(5, 2)} layers forward and peaks at {peaks[1]}" in title
    )


def test_growth_is_measured_and_stands_beside_the_theory(
    planned: Results, drawn: dict[str, Drawing]
) -> None:
    """Layers run are the theory's counts at each depth; the slopes of the table are those of the
    figure's title, and none is exact.
    """
    growths = growths_of(planned.results)
    assert [growth.rule.name for growth in growths] == ["s = 2", "s = log₂ n", "s = √n"]
    for growth in growths:
        wanted = [theory_layers(n, growth.rule.snapshots(n)) for n in growth.depths]
        assert layers_run(growth, again=False) == wanted
        assert layers_run(growth, again=True) == [
            layers - n for layers, n in zip(wanted, growth.depths, strict=True)
        ]
    table = growth_table(planned.results)
    assert list(table.columns) == list(COMPLEXITY_COLUMNS)
    assert not table["exact"].any()
    assert set(table["big_o"]) == {"n**(3/2)", "n*log2(n)", "n"}
    slopes = (
        table.loc[table["quantity"] == "ops_forward + ops_recompute", "formula"]
        .str.removeprefix("n**")
        .astype(float)
    )
    for growth, slope in zip(
        growths, slopes, strict=True
    ):  # operations include those of the loss: a hundredth at most
        assert abs(layer_slope(growth, again=False) - slope) < 0.015
        assert layer_slope(growth, again=False) == pytest.approx(
            growth.counted_slope("ops_forward + ops_recompute"), abs=1e-12
        )
        assert (
            f"{layer_slope(growth, again=False):.2f} with {growth.rule.name}"
            in drawn["growth"].title
        )
    legend = [text.get_text() for one in drawn["growth"].figure.legends for text in one.get_texts()]
    assert [", as the theory counts; " in text for text in legend] == [True] * 3
    for growth in (
        growths
    ):  # and the exact count's slope nears the curve's as depths grow: from afar, to a twentieth
        curve = slope_of(DISTANT, [growth.rule.curve(n) for n in DISTANT])
        assert abs(growth.counted_slope("ops_forward + ops_recompute", DISTANT) - curve) < 0.05
    assert table["reason"].str.contains("the theory's count has").all()
    assert len(planned.complexity) > len(table)
    assert planned.complexity.tail(len(table)).reset_index(drop=True).equals(table)


@pytest.mark.parametrize(
    "text", ["os:system('touch OWNED')", "revolve(snapshots=", "a b", "", "=1"]
)
def test_no_text_of_a_planner_is_imported(
    planned: Results, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Whatever a row has in the place of a planner, it is text: nothing is imported or called."""
    imported: list[str] = []
    stub = SimpleNamespace(import_module=lambda name: imported.append(name))
    monkeypatch.setattr(parse, "importlib", stub)
    with pytest.raises(PlannerError):
        parse.parse_planner("os:system('touch OWNED')")
    assert imported == ["os"]  # the stub sees an import, and so would see one below
    rows = planned.results.copy()
    rows.loc[rows["planner"] == "revolve(snapshots=2)", "planner"] = text
    steps = planned.timelines.copy()
    steps.loc[steps["planner"] == "revolve(snapshots=2)", "planner"] = text
    made = replace(planned, results=rows, timelines=steps)
    assert "schedules" in draw(made, ("frontier", "schedules", "timelines", "growth", "engines"))
    assert advice_of(rows)
    assert lessons_of(rows)
    assert imported == ["os"]


def test_the_engines_stand_on_one_axis(planned: Results, drawn: dict[str, Drawing]) -> None:
    """The title counts where our peak is lower and equal; a row where it is higher is reported in
    capitals.
    """
    title = drawn["engines"].title
    assert "our peak is lower in" in title
    assert "HIGHER" not in title
    worse = planted(
        planned,
        "peak_bytes",
        10**6,
        engine="autodiff",
        mode="no_grad",
        activation="tanh",
        n=6,
        d=2,
        b=16,
    )
    with styled():
        wrong = FIGURES["engines"](worse)
    assert wrong is not None
    assert "HIGHER in 1" in wrong.title


def test_the_report_has_the_sections(
    planned: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lessons, advice and PyTorch have sections that the page links to; a sweep without such rows
    has none of them.
    """
    monkeypatch.setattr(reporting_sweep, "FIGURES", {})
    page = page_of(replace(planned, directory=tmp_path))
    headings = [
        "The exercise’s lessons in numbers",
        "Checkpointing: what it saves",
        "Compared with plain PyTorch",
        "Formulas found",
        "How it was made",
    ]
    places = [page.words.rindex(heading) for heading in headings]
    assert places == sorted(places)
    assert {"#lessons", "#checkpointing", "#pytorch"} <= set(page.addresses)
    assert "O(n^(1+1/2))" in page.words
    plain = results_of(
        {**SMALL, "studies": None, "modes": ["full"], "grid": {"n": [2], "d": [2], "b": [2]}},
        tmp_path / "plain",
    )
    words = page_of(plain).words
    assert not any(heading in words for heading in headings[:3])
    changed = planted(
        planned, "peak_bytes", 4, engine="pytorch", mode="no_grad", activation="tanh", n=6
    )
    assert (
        "true of ONLY"
        in page_of(replace(changed, directory=tmp_path))
        .words.split("Compared with plain PyTorch: where")[1]
        .split("Formulas found")[0]
    )


def test_nothing_measured_draws_nothing(planned: Results) -> None:
    """A sweep in which every point failed has none of these figures, and no error."""
    rows = planned.results.assign(status="failed")
    made = replace(planned, results=rows, timelines=pd.DataFrame())
    assert [registry.FIGURES[name](made) for name in ELSEWHERE] == [None] * 4
    assert (plan_groups(rows), advice_of(rows), growths_of(rows)) == ([], [], [])
