"""What each planner would save: numbers as in `profile`, parts of the peak, and text."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

from autodiff import (
    Claims,
    GraphError,
    Program,
    RecomputeAll,
    Revolve,
    Schedule,
    StoreAll,
    Uniform,
    networks,
    parse_planner,
)
from autodiff.pytorch import from_pytorch
from profiler import planner_savings, profile_schedule, program_of, savings_text
from tests.support.torch_models import Block, classified, traced, training_step


def chain(n: int, d: int, b: int) -> Program:
    """Return the chain of the exercise as shapes."""
    network = networks.chain(n, d, b, values=False)
    return program_of(network.loss, network.weights)


def test_the_numbers_are_those_of_profile() -> None:
    """Peaks and operations are those of `profile`; by default every number is tried."""
    program = chain(6, 4, 32)
    found = planner_savings(program)
    made = {
        str(planner): planner
        for planner in [RecomputeAll(), *map(Uniform, range(2, 7)), *map(Revolve, range(1, 6))]
    }
    assert found["planner"].iloc[0] == "store_all"
    budgets = [name for name in found["planner"] if name.startswith("optimal(max_bytes=")]
    assert len(budgets) >= 5
    made |= {name: parse_planner(name) for name in budgets}  # type: ignore[dict-item]
    assert set(found["planner"][1:]) == set(made)
    plain = profile_schedule(program, StoreAll()(program), execute=False)
    for row in found.iloc[1:].itertuples():
        one = profile_schedule(program, made[row.planner](program), execute=False)
        assert (row.peak_bytes, row.ops) == (one.peak_bytes, one.ops.total)
        assert (row.saved_bytes, row.more_ops) == (
            plain.peak_bytes - one.peak_bytes,
            one.ops.total - plain.ops.total,
        )
        assert row.saved_share == row.saved_bytes / plain.peak_bytes
    assert list(found["peak_bytes"][1:]) == sorted(found["peak_bytes"][1:])


def test_the_best_are_those_that_no_other_beats() -> None:
    """A plan is best if and only if it saves memory and no other plan dominates it."""
    found = planner_savings(chain(12, 4, 40))
    plain, rest = found.iloc[0], found.iloc[1:]
    for row in rest[rest["is_best"]].itertuples():
        others = rest[rest.index != row.Index]
        assert row.peak_bytes < plain.peak_bytes
        better = (others["peak_bytes"] <= row.peak_bytes) & (others["ops"] <= row.ops)
        assert not (
            better & ((others["peak_bytes"] < row.peak_bytes) | (others["ops"] < row.ops))
        ).any()
    for row in rest[~rest["is_best"]].itertuples():
        others = found[found.index != row.Index]
        assert ((others["peak_bytes"] <= row.peak_bytes) & (others["ops"] <= row.ops)).any()
    assert rest["is_best"].any()


def test_where_gradients_dominate_nothing_is_saved_and_that_is_why() -> None:
    """With a width far above the batch the weight gradients make the peak of every plan."""
    found = planner_savings(chain(8, 64, 2))
    assert not found["is_best"].any()
    assert found["why"].str.contains("gradients of parameters, which no plan drops").all()
    assert savings_text(found).startswith("No plan lowers the peak of")
    assert "gradients of parameters" in savings_text(found)


def test_where_activations_dominate_the_text_names_the_least() -> None:
    """The text gives the savings and cost of the lowest peak and of the other best plans."""
    found = planner_savings(chain(16, 4, 64))
    text = savings_text(found, most=4)
    best = found[found["is_best"]]
    assert text.startswith(f"{best.iloc[0]['planner']} lowers the peak from ")
    assert text.count("\n") == 4 < len(best)
    assert found["why"].iloc[0].startswith(("8", "9"))  # eight or nine tenths
    assert "activations that the backward part will read" in found["why"].iloc[0]


def test_what_is_drawn_once_is_named() -> None:
    """Masks that take less than a state to draw them from are a part of the peak."""
    torch.manual_seed(0)
    model = nn.Sequential(*[Block(8, 0.1) for _ in range(12)], nn.Linear(8, 3))
    x, y = torch.randn(150, 8), torch.arange(150) % 3  # 4,800 bytes a mask, 5,056 a state
    with_dropout = planner_savings(
        from_pytorch(training_step(model, classified), x, y, model=model)
    )
    assert "results of random ops, which are drawn once" in with_dropout.iloc[1]["why"]
    found = planner_savings(traced("gpt2")[0])
    assert not found["why"].str.contains("random").any()
    assert found["saved_share"].max() > 0.4
    assert found["why"].str.contains(r"takes \(cell \d of 9\)").any()
    assert not found["why"].str.contains("the cell from").any()


def test_planners_of_ones_own_are_asked_too() -> None:
    """Any planners may be given; one that is refused has its reason in its row."""
    program = chain(4, 3, 20)

    def twice(program: Program) -> Schedule:
        plain = StoreAll()(program)
        return Schedule(plain.order, Claims(plain.claims.forward, 0, plain.claims.backward), "mine")

    found = planner_savings(program, [twice, Uniform(9), Revolve(max_bytes=1)]).set_index("planner")
    assert list(found.index[:2]) == ["store_all", "mine"]
    assert found["saved_bytes"]["mine"] == 0
    assert "give segments ≤ 4" in found["why"]["uniform(segments=9)"]
    assert "the least is" in found["why"]["revolve(max_bytes=1)"]
    assert pd.isna(found["peak_bytes"]["uniform(segments=9)"])
    assert not found["is_best"].any()


def test_what_is_no_chain_says_why() -> None:
    """A program that is no chain has selective plans, and the reason in the rows of the others."""
    network = networks.chain(3, 3, 8, micro_batches=2, values=False)
    found = planner_savings(program_of(network.loss, network.weights))
    refused = found[found["peak_bytes"].isna()]
    assert len(refused) == 3
    assert refused["why"].str.contains("comes after").all()
    planned = found[found["peak_bytes"].notna()]
    assert planned["planner"].iloc[0] == "store_all"
    assert planned["planner"].iloc[1:].str.startswith("selective(max_bytes=").all()
    nothing = savings_text(found[found["peak_bytes"].isna() | (found["planner"] == "store_all")])
    assert nothing.startswith("Nothing can be planned: ")
    assert "comes after" in nothing


def test_symbols_are_refused() -> None:
    """Shapes that are symbols cannot be compared, which is said in one line."""
    import sympy

    d, b = sympy.symbols("d b", positive=True, integer=True)
    network = networks.chain(3, d, b, values=False)
    with pytest.raises(GraphError, match="no integers"):
        planner_savings(program_of(network.loss, network.weights))


def test_a_long_chain_is_looked_at_in_samples() -> None:
    """For a long chain some numbers of snapshots and segments are tried, extremes included."""
    found = planner_savings(chain(100, 2, 4))
    assert len(found) <= 2 + 2 * 16 + 9
    assert {
        "revolve(snapshots=1)",
        "revolve(snapshots=99)",
        "uniform(segments=2)",
        "uniform(segments=100)",
    } <= set(found["planner"])
