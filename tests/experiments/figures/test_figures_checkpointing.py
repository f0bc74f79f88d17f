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
from experiments import theory
from experiments.analysis.advice import advice_of, dominates, trade_off
from experiments.analysis.engines import engines_of
from experiments.analysis.growth import (
    DISTANT,
    formulas_of,
    growth_table,
    growths_of,
    slope_of,
    theory_layers,
)
from experiments.analysis.lessons import lessons_of
from experiments.analysis.plans import Plan, PlanGroup, plan_groups, planner_words
from experiments.figures import registry
from experiments.figures.growth import layer_slope, layers_run
from experiments.figures.registry import FIGURES
from experiments.figures.schedules import bars_of, blocks_of
from experiments.figures.style import Drawing, styled
from experiments.fitting.table import COMPLEXITY_COLUMNS
from experiments.reporting import sweep as reporting_sweep
from experiments.results.tables import Results
from experiments.text import percent
from experiments.theory.checkpointing import Checkpointed, checkpointed
from profiler.savings import ACTIVATIONS, WEIGHTS
from profiler.units import human_bytes
from tests.support.drawings import ELSEWHERE, overlaps, texts
from tests.support.pages import page_of
from tests.support.sweeps import SMALL, results_of

PLANNERS = [f"revolve(snapshots={s})" for s in (1, 2, 3, 4)] + [
    "recompute_all",
    "uniform(segments=2)",
    "uniform(segments=3)",
    "store_all",
]
SWEEP: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": 6, "d": [2, 8], "b": [2, 16]},
    "modes": ["no_grad", "forward", "full", "w1_only", "checkpointed"],
    "planners": PLANNERS,
    "engine": ["autodiff", "pytorch"],
    "audit": "none",
    "measure_process": False,
    "timeline": {
        "n": 5,
        "d": 2,
        "b": 8,
        "modes": ["full", "checkpointed"],
        "planners": ["revolve(snapshots=2)", "recompute_all"],
    },
    "studies": {
        "gelu": {
            "network": {"activation": "gelu"},
            "modes": ["no_grad", "forward", "full", "w1_only"],
        },
        "layers": {
            "network": {"activation": ["tanh", "gelu"]},
            "grid": {"n": 4, "d": [3], "b": 5},
            "modes": ["only"],
            "engine": ["autodiff"],
        },
        "micro_batches": {
            "grid": {"n": 6, "d": 2, "b": 16},
            "modes": ["full"],
            "micro_batches": [2, 4],
        },
        "growth": {
            "engine": ["autodiff"],
            "grid": {"n": [4, 8, 16, 32], "d": 2, "b": 4},
            "modes": ["checkpointed"],
            "planners": [f"revolve(snapshots={s})" for s in (2, 3, 4, 5, 6)],
        },
    },
}


@pytest.fixture(scope="module")
def results() -> Results:
    """A small sweep of planners and of PyTorch, run."""
    made = results_of(SWEEP, Path("nowhere"))
    return replace(made, complexity=formulas_of(made.results))


@pytest.fixture(scope="module")
def drawn(results: Results) -> dict[str, Drawing]:
    """Its figures that this file is about."""
    return draw(results)


@pytest.fixture(scope="module")
def wide(results: Results) -> PlanGroup:
    """The plans at the shape whose batch is far wider than its layers."""
    return next(
        group for group in plan_groups(results.results) if (group.n, group.d, group.b) == (6, 2, 16)
    )


def draw(results: Results, names: tuple[str, ...] = ELSEWHERE) -> dict[str, Drawing]:
    """Those figures that the results have data for."""
    made = {}
    for name in names:
        with styled(name):
            drawing = FIGURES[name](results)
        if drawing is not None:
            made[name] = drawing
    return made


def expected(planner: str, n: int = 6, d: int = 2, b: int = 16, **parameters: int) -> Checkpointed:
    """The theory of a plan."""
    return checkpointed(planner, n, d, b, **parameters)


def planted(results: Results, column: str, by: int, **where: Any) -> Results:
    """The same results with one number changed in the first row that is so."""
    rows = results.results.copy()
    mask = pd.Series(True, index=rows.index)
    for name, value in where.items():
        mask &= rows[name] == value
    rows.loc[rows.index[mask][0], column] += by
    return replace(results, results=rows)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_figure_is_drawn_and_legible(drawn: dict[str, Drawing], name: str) -> None:
    """The figure is there, no text of it touches another or the edge, and every panel's axes are
    labelled or shared.
    """
    figure = drawn[name].figure
    with styled(name):
        assert overlaps(figure) == []
        shown = [axes for axes in figure.axes if axes.get_visible()]
        for axes in shown:
            column = [
                other
                for other in shown
                if abs(other.get_position().x0 - axes.get_position().x0) < 0.01
            ]
            row = [
                other
                for other in shown
                if abs(other.get_position().y0 - axes.get_position().y0) < 0.01
            ]
            assert any(other.get_xlabel() for other in column)
            assert any(other.get_ylabel() for other in row)
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
        {"network": {"name": "chain", "activation": "identity", "loss": "cross_entropy"}},
        {"grid": {"n": [1, 2], "d": 2, "b": 3}, "planners": ["recompute_all"]},
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
        {"modes": ["checkpointed"], "planners": ["revolve(snapshots=2)"]},
    ],
)
def test_any_sweep_of_planners_can_be_drawn_and_told(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """One planner, budgets, other networks, no plain step beside: what can be drawn is legible, and
    the report is written.
    """
    given = {
        **SWEEP,
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


def test_seconds_are_shown_where_they_mean_something(
    results: Results, drawn: dict[str, Drawing]
) -> None:
    """Steps below 20 ms get no panel of seconds, and the figure says why; longer ones get one."""
    words = " ".join(" ".join(text for text, _ in texts(drawn["frontier"].figure)).split())
    assert len(drawn["frontier"].figure.axes) == 2
    assert "no panel of seconds: the longest step takes" in words
    rows = results.results
    longer = {name: 10**6 * rows[name] for name in rows if name.startswith("wall_ns_")}
    with styled():
        timed = FIGURES["frontier"](replace(results, results=rows.assign(**longer)))
    assert timed is not None
    assert len(timed.figure.axes) == 3
    assert "no panel of seconds" not in " ".join(text for text, _ in texts(timed.figure))


def test_a_mark_off_the_frontiers_curves_is_told(
    results: Results, drawn: dict[str, Drawing]
) -> None:
    """All marks meet the theory, and one that is moved is counted as missing it."""
    words = " ".join(text for text, _ in texts(drawn["frontier"].figure))
    assert "marks with a formula" in words
    assert "ONLY" not in words
    moved = planted(results, "ops", 1, planner="revolve(snapshots=2)", d=2, b=16, n=6)
    with styled():
        wrong = FIGURES["frontier"](moved)
        assert wrong is not None
        assert "ONLY" in " ".join(text for text, _ in texts(wrong.figure))


def test_the_schedule_is_read_from_the_events(results: Results) -> None:
    """Each layer is advanced once and reversed, as many are run again as the theory says, and no
    more is held than there are snapshots.
    """
    frame = results.timelines[results.timelines["planner"] == "revolve(snapshots=2)"]
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
    everything = results.timelines[results.timelines["mode"] == "full"]
    assert [bar.k for bar in sorted(bars_of(everything, 5), key=lambda bar: bar.k)] == [2, 3, 4, 5]
    assert not any(block.kind == "recompute" for block in blocks_of(everything, 5))


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
    results: Results, drawn: dict[str, Drawing]
) -> None:
    """Layers run are the theory's counts at each depth; the slopes of the table are those of the
    figure's title, and none is exact.
    """
    growths = growths_of(results.results)
    assert [growth.rule.name for growth in growths] == ["s = 2", "s = log₂ n", "s = √n"]
    for growth in growths:
        wanted = [theory_layers(n, growth.rule.snapshots(n)) for n in growth.depths]
        assert layers_run(growth, again=False) == wanted
        assert layers_run(growth, again=True) == [
            layers - n for layers, n in zip(wanted, growth.depths, strict=True)
        ]
    table = growth_table(results.results)
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
    ):  # operations have those of the loss beside them: a hundredth at most
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
    assert len(results.complexity) > len(table)
    assert results.complexity.tail(len(table)).reset_index(drop=True).equals(table)


def test_a_power_law_has_its_own_slope(results: Results) -> None:
    """Invented operations that grow as n^1.5 have slope 1.50; two depths are too few for one."""
    rows = results.results.copy()
    rows["ops_recompute"] = (rows["n"].astype(float) ** 1.5 * 1e6).round().astype("Int64")
    table = growth_table(rows)
    slopes = table[table["quantity"] == "ops_recompute"]
    assert set(slopes["formula"]) == {"n**1.50"}
    assert set(slopes["pretty_formula"]) == {"n^1.50"}
    assert growth_table(rows[rows["n"].isin([4, 8])]).empty
    assert list(growth_table(rows.head(0)).columns) == list(COMPLEXITY_COLUMNS)


def test_planners_are_written_for_the_eye() -> None:
    """A planner reads as words."""
    assert [planner_words(name) for name in ("uniform(segments=1)", "uniform", "my.planner")] == [
        "uniform, 1 segment",
        "uniform, √n segments",
        "my.planner",
    ]


def test_the_advice_is_computed(results: Results, wide: PlanGroup) -> None:
    """What the lowest plan saves and costs, the best exchange, and which plans are no use, all from
    the rows.
    """
    full, best = wide.full, wide.best
    assert full.peak_bytes == 4 * expected("store_all").peak_elements
    assert [plan.peak_bytes for plan in best] == sorted(plan.peak_bytes for plan in best)
    assert [plan.ops for plan in best] == sorted((plan.ops for plan in best), reverse=True)
    points = {(plan.peak_bytes, plan.ops) for plan in (*wide.plans, full)}
    lowest = {
        point
        for point in points
        if not any(other[0] <= point[0] and other[1] <= point[1] for other in points - {point})
    }
    assert {(plan.peak_bytes, plan.ops) for plan in best} == lowest - {(full.peak_bytes, full.ops)}
    told = next(
        advice
        for advice in advice_of(results.results)
        if "b = 16" in advice.heading and "d = 2" in advice.heading
    )
    saved = percent(full.peak_bytes - best[0].peak_bytes, full.peak_bytes)
    assert (
        f"(−{saved}) for {percent(best[0].ops - full.ops, full.ops)} more operations"
        in told.sentences[0]
    )
    chosen = trade_off(wide)
    assert chosen is not None
    assert chosen.peak_bytes * chosen.ops == min(plan.peak_bytes * plan.ops for plan in best)
    assert len(told.lines) == len(best) + 1


def test_a_plan_that_takes_more_memory_is_no_use(results: Results, wide: PlanGroup) -> None:
    """One plan's peak raised above that of keeping everything: it is among the plans to take no
    more.
    """
    assert any(plan.planner == "revolve(snapshots=2)" for plan in wide.best)
    worse = planted(results, "peak_bytes", 10**6, planner="revolve(snapshots=2)", n=6, d=2, b=16)
    told = next(advice for advice in advice_of(worse.results) if "d = 2, b = 16" in advice.heading)
    assert "revolve, s = 2" in next(
        sentence for sentence in told.sentences if sentence.startswith("Not useful here")
    )


def test_the_advice_says_why_nothing_falls(results: Results) -> None:
    """Where the layer is far wider than the batch all plans stay, and the reason is the weight
    gradients, with their bytes.
    """
    told = next(
        advice for advice in advice_of(results.results) if "d = 8, b = 2 " in advice.heading
    )
    (sentence,) = told.sentences
    assert sentence.startswith("Checkpointing does not help here: all 7 plans stay at")
    share = percent(6 * 64, theory.peak_elements("full", 6, 8, 2))
    assert f"What dominates the peak: {share} gradients of parameters, which no plan" in sentence
    assert told.lines == ()


def test_what_dominates_a_peak_is_read_from_its_roles(wide: PlanGroup) -> None:
    """The shares are those of the roles at the peak, the greatest first, in words of
    the profiler.
    """
    for plan in (*wide.plans, wide.full):
        held = plan.roles["activation"]
        assert f"{percent(held, plan.peak_bytes)} {ACTIVATIONS}" in dominates(plan)
    roles = {"activation": 25, "gradient": 0, "temporary": 5, "parameter_gradient": 70}
    plan = Plan("uniform(segments=2)", 100, 1, None, roles, None, None)
    assert dominates(plan) == f"70% {WEIGHTS}; 25% {ACTIVATIONS}"


@pytest.mark.parametrize(
    "text", ["os:system('touch OWNED')", "revolve(snapshots=", "a b", "", "=1"]
)
def test_no_text_of_a_planner_is_imported(
    results: Results, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Whatever a row has in the place of a planner, it is text: nothing is imported or called."""
    imported: list[str] = []
    stub = SimpleNamespace(import_module=lambda name: imported.append(name))
    monkeypatch.setattr(parse, "importlib", stub)
    with pytest.raises(PlannerError):
        parse.parse_planner("os:system('touch OWNED')")
    assert imported == ["os"]  # the stub sees an import, and so would see one below
    rows = results.results.copy()
    rows.loc[rows["planner"] == "revolve(snapshots=2)", "planner"] = text
    steps = results.timelines.copy()
    steps.loc[steps["planner"] == "revolve(snapshots=2)", "planner"] = text
    made = replace(results, results=rows, timelines=steps)
    assert "schedules" in draw(made, ("frontier", "schedules", "timelines", "growth", "engines"))
    assert advice_of(rows)
    assert lessons_of(rows)
    assert imported == ["os"]


def test_the_claims_about_pytorch_hold(results: Results) -> None:
    """Every claim that the rows speak of is true of all of them, and of one fewer when a pair is
    changed.
    """
    told = engines_of(results.results)
    assert {claim["words"].split(",")[0].split(":")[0] for claim in told} >= {
        "operations",
        "no-grad",
        "forward",
        "full",
        "W₁ only",
        "checkpoint_sequential",
    }
    assert [claim["words"] for claim in told if claim["true"] != claim["of"]] == []
    changed = engines_of(
        planted(
            results, "peak_bytes", 4, engine="pytorch", mode="no_grad", activation="tanh", n=6
        ).results
    )
    assert [
        (claim["words"].split(",")[0], claim["of"] - claim["true"])
        for claim in changed
        if claim["true"] != claim["of"]
    ] == [("no-grad", 1)]
    assert engines_of(results.results[results.results["engine"] == "autodiff"]) == []


def test_the_engines_stand_on_one_axis(results: Results, drawn: dict[str, Drawing]) -> None:
    """The title counts where our peak is lower and equal; a row where it is higher is told in
    capitals.
    """
    title = drawn["engines"].title
    assert "our peak is lower in" in title
    assert "HIGHER" not in title
    worse = planted(
        results,
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


def test_the_four_lessons_have_their_numbers(results: Results) -> None:
    """Each lesson quotes the rows: no-grad beside forward, W_1 beside all, smaller batches and
    slices, plans beside keeping everything.
    """
    lessons = lessons_of(results.results)
    assert len(lessons) == 4
    words = [" ".join(lesson.sentences) for lesson in lessons]
    peak = {
        mode: human_bytes(4 * theory.peak_elements(mode, 6, 2, 16))
        for mode in ("no_grad", "forward", "full", "w1_only")
    }
    assert f"peaks at {peak['forward']}, one that keeps nothing at {peak['no_grad']}" in words[0]
    first, every = (theory.total_operations(mode, 6, 2, 16) for mode in ("w1_only", "full"))
    assert f"With tanh, computing only W₁’s gradient takes {percent(first, every)}" in words[1]
    assert "With gelu, computing only W₁" in words[1]
    last, first = (theory.total_operations("only", 4, 3, 5, wrt=j) for j in (4, 1))
    assert f"W₄, needs {percent(last, first)} of W₁’s operations" in words[1]
    assert (
        f"From b = 16 to b = 2 examples per step, 8× fewer, the peak falls from {peak['full']} to"
        in words[2]
    )
    sliced = human_bytes(4 * theory.peak_elements("full", 6, 2, 16, micro_batches=4))
    assert (
        f"in 4 slices with accumulated gradients: the peak goes from {peak['full']} to {sliced}"
        in words[2]
    )
    assert f"Keeping everything peaks at {peak['full']}" in words[3]


def test_a_lesson_without_rows_is_left_out(results: Results) -> None:
    """Only what was measured is taught."""
    rows = results.results
    assert [
        len(lessons_of(rows[rows["mode"] == mode]))
        for mode in ("no_grad", "full", "only", "checkpointed")
    ] == [0, 1, 1, 1]
    assert lessons_of(rows.assign(status="failed")) == []


def test_the_report_has_the_sections(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lessons, advice and PyTorch have sections that the page links to; a sweep without such rows
    has none of them.
    """
    monkeypatch.setattr(reporting_sweep, "FIGURES", {})
    page = page_of(replace(results, directory=tmp_path))
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
        results, "peak_bytes", 4, engine="pytorch", mode="no_grad", activation="tanh", n=6
    )
    assert (
        "true of ONLY"
        in page_of(replace(changed, directory=tmp_path))
        .words.split("Compared with plain PyTorch: where")[1]
        .split("Formulas found")[0]
    )


def test_nothing_measured_draws_nothing(results: Results) -> None:
    """A sweep in which every point failed has none of these figures, and no error."""
    rows = results.results.assign(status="failed")
    made = replace(results, results=rows, timelines=pd.DataFrame())
    assert [registry.FIGURES[name](made) for name in ELSEWHERE] == [None] * 4
    assert (plan_groups(rows), advice_of(rows), growths_of(rows)) == ([], [], [])
