"""What is said of plans, growth, lessons and PyTorch is computed from the rows."""

from __future__ import annotations

import pytest

from experiments import theory
from experiments.analysis.advice import advice_of, dominates, trade_off
from experiments.analysis.engines import engines_of
from experiments.analysis.growth import growth_table
from experiments.analysis.lessons import lessons_of
from experiments.analysis.plans import Plan, PlanGroup, plan_groups, planner_words
from experiments.fitting.table import COMPLEXITY_COLUMNS
from experiments.results.tables import Results
from experiments.text import percent
from profiler.savings import ACTIVATIONS, WEIGHTS
from profiler.units import human_bytes
from tests.support.sweeps import expected, planted


@pytest.fixture(scope="module")
def wide(planned: Results) -> PlanGroup:
    """The plans at the shape whose batch is far wider than its layers."""
    return next(
        group for group in plan_groups(planned.results) if (group.n, group.d, group.b) == (6, 2, 16)
    )


def test_a_power_law_has_its_own_slope(planned: Results) -> None:
    """Invented operations that grow as n^1.5 have slope 1.50; two depths are too few for one."""
    rows = planned.results.copy()
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


def test_the_advice_is_computed(planned: Results, wide: PlanGroup) -> None:
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
        for advice in advice_of(planned.results)
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


def test_a_plan_that_takes_more_memory_is_no_use(planned: Results, wide: PlanGroup) -> None:
    """One plan's peak raised above that of keeping everything: it is among the plans to take no
    more.
    """
    assert any(plan.planner == "revolve(snapshots=2)" for plan in wide.best)
    worse = planted(planned, "peak_bytes", 10**6, planner="revolve(snapshots=2)", n=6, d=2, b=16)
    told = next(advice for advice in advice_of(worse.results) if "d = 2, b = 16" in advice.heading)
    assert "revolve, s = 2" in next(
        sentence for sentence in told.sentences if sentence.startswith("Not useful here")
    )


def test_the_advice_says_why_nothing_falls(planned: Results) -> None:
    """Where the layer is far wider than the batch all plans stay, and the reason is the weight
    gradients, with their bytes.
    """
    told = next(
        advice for advice in advice_of(planned.results) if "d = 8, b = 2 " in advice.heading
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


def test_the_claims_about_pytorch_hold(planned: Results) -> None:
    """Every claim that the rows speak of is true of all of them, and of one fewer when a pair is
    changed.
    """
    told = engines_of(planned.results)
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
            planned, "peak_bytes", 4, engine="pytorch", mode="no_grad", activation="tanh", n=6
        ).results
    )
    assert [
        (claim["words"].split(",")[0], claim["of"] - claim["true"])
        for claim in changed
        if claim["true"] != claim["of"]
    ] == [("no-grad", 1)]
    assert engines_of(planned.results[planned.results["engine"] == "autodiff"]) == []


def test_the_four_lessons_have_their_numbers(planned: Results) -> None:
    """Each lesson quotes the rows: no-grad next to forward, W_1 next to all, smaller batches and
    slices, plans next to keeping everything.
    """
    lessons = lessons_of(planned.results)
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


def test_a_lesson_without_rows_is_left_out(planned: Results) -> None:
    """Only what was measured is taught."""
    rows = planned.results
    assert [
        len(lessons_of(rows[rows["mode"] == mode]))
        for mode in ("no_grad", "full", "only", "checkpointed")
    ] == [0, 1, 1, 1]
    assert lessons_of(rows.assign(status="failed")) == []


@pytest.mark.parametrize(
    ("planner", "words"),
    [
        ("optimal(max_bytes=8GiB)", "optimal within 8 GiB"),
        ("budget(max_bytes=1.5KiB)", "budget within 1.5 KiB"),
        ("selective(max_ops_ratio=1.25)", "selective within 1.25× the operations"),
    ],
)
def test_a_limit_is_written_as_a_size_or_a_ratio(planner: str, words: str) -> None:
    """Planners with a limit say it as people write it."""
    assert planner_words(planner) == words
