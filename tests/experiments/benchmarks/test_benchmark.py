"""The benchmark's command line on tiny shapes: every comparison is made of equal results, and its
table, CSV and figure are whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from autodiff import TapemeasureError
from experiments import benchmark, benchmarks
from experiments.benchmarks import (
    applied,
    checkpoints,
    orders,
    plans,
    remat,
    shapes,
    steps,
    tools,
)
from experiments.benchmarks.chain import KERNELS, PRODUCTS, Chain, rows_of
from experiments.benchmarks.output import append_history, write_benchmark
from experiments.benchmarks.registry import BENCHMARKS
from experiments.measuring import architectures
from experiments.measuring.timing import Timing, alternate

TINY = (6, 4, 8)
TINY_NETWORKS = {"autoencoder": lambda: architectures.autoencoder((2, 3), 1, 16, 8)}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every benchmark on shapes that take no time, a few rounds each."""
    monkeypatch.setattr(steps, "SHAPES", (TINY,))
    monkeypatch.setattr(steps, "rounds_for", lambda shape: 3)
    monkeypatch.setattr(
        steps, "_compiled", lambda chain: None
    )  # a compiler takes ten seconds to begin
    monkeypatch.setattr(tools, "SHAPES", (TINY,))
    monkeypatch.setattr(checkpoints, "SHAPE", (9, 4, 8))
    monkeypatch.setattr(checkpoints, "SEGMENTS", 3)
    monkeypatch.setattr(checkpoints, "ROUNDS", 2)
    monkeypatch.setattr(shapes, "DEEP", (5, 4, 8))
    monkeypatch.setattr(shapes, "DEEPEST", (7, 4, 8))
    monkeypatch.setattr(shapes, "GRID_SIDE", 3)
    monkeypatch.setattr(shapes, "FORMULA_DEPTH", 4)
    monkeypatch.setattr(plans, "NETWORKS", TINY_NETWORKS)
    monkeypatch.setattr(plans, "BUDGETS", (0.8,))
    monkeypatch.setattr(plans, "THEIR_BUDGETS", (0.5,))
    monkeypatch.setattr(plans, "PROOF_SECONDS", 0.2)
    monkeypatch.setattr(applied, "network", lambda: architectures.gpt2(1, 16, 2, 32, 8, 31))
    monkeypatch.setattr(applied, "BUDGETS", ())  # each takes a compiler
    monkeypatch.setattr(applied, "ROUNDS", 1)
    for name, value in (("STEPS", 12), ("SNAPSHOTS", 3), ("MANY_STEPS", 30), ("MANY_SNAPSHOTS", 4)):
        monkeypatch.setattr(orders, name, value)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads, given back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_the_command_writes_a_table_a_csv_and_a_figure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a name all benchmarks are run; each row has a median, a spread and its ratio to a row
    of its own comparison.
    """
    benchmark.main(["--out", str(tmp_path)])
    frame = pd.read_csv(tmp_path / "benchmark.csv")
    assert set(frame["benchmark"]) == set(BENCHMARKS) == set(benchmark.NAMES)
    assert (frame[["median_ms", "ratio"]] > 0).all(axis=None)
    for _, group in frame.groupby(["benchmark", "shape"]):
        baseline = group["baseline"].iloc[0]
        assert group.loc[group["what"] == baseline, "ratio"].tolist() == [1.0]
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    printed = capfd.readouterr().out
    for word in (
        "instrumented",
        "profile_step",
        "checkpoint_sequential",
        "predict_grid",
        "pyrevolve",
        KERNELS,
        PRODUCTS,
    ):
        assert word in printed


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_a_planned_loop_stays_within_its_share_of_the_eager_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(applied, "BUDGETS", (0.9,))
    rows = {row["what"]: row for row in BENCHMARKS["applied"]()}
    assert rows["compile, 90% of eager"]["peak_bytes"] <= 0.9 * rows["eager"]["peak_bytes"]


@pytest.mark.usefixtures("tiny")
def test_a_checkpointed_step_of_ours_takes_no_more_memory_than_pytorchs() -> None:
    """The plans that are timed against checkpoint_sequential have at most its measured peak."""
    rows = {row["what"]: row for row in BENCHMARKS["checkpointing"]()}
    theirs = next(
        row["peak_bytes"] for what, row in rows.items() if what.startswith("checkpoint_sequential")
    )
    ours = [
        row["peak_bytes"] for what, row in rows.items() if re.match("the fastest|uniform", what)
    ]
    assert len(ours) == 2
    assert max(ours) <= theirs


def test_steps_with_other_gradients_are_not_compared() -> None:
    """Gradients that differ from PyTorch's in one element end the comparison."""
    chain = Chain.make(TINY)
    chain.require_equal(chain.kernels())
    wrong = [gradient.clone() for gradient in chain.kernels()]
    wrong[2][0, 0] += 1
    with pytest.raises(TapemeasureError, match="n=6, d=4, b=8 differ"):
        chain.require_equal(wrong)


def test_every_step_runs_once_a_round_in_turn(two_threads: None) -> None:
    """Steps alternate, each round begins with another one, and one thread is used and
    given back.
    """
    ran: list[tuple[str, int]] = []
    made: dict[str, Callable[[], Any]] = {
        name: lambda name=name: ran.append((name, torch.get_num_threads())) for name in "abc"
    }  # type: ignore[misc]
    timings = alternate(made, rounds=3, warm_up=1)
    assert "".join(name for name, _ in ran) == "abc" + "abc" + "bca" + "cab"
    assert {used for _, used in ran[3:]} == {1}
    assert torch.get_num_threads() == 2
    rows = rows_of("name", "shape", timings, "b")
    assert [row["what"] for row in rows] == ["a", "b", "c"]
    assert rows[1]["ratio"] == 1.0


def test_the_history_keeps_every_run(tmp_path: Path) -> None:
    """A second run is added to the first, each row with its time, commit and machine."""
    rows = rows_of("name", "shape", {"a": Timing(2e6, 0), "b": Timing(1e6, 0)}, "b")
    path = tmp_path / "history.csv"
    append_history(pd.DataFrame(rows), path)
    append_history(pd.DataFrame(rows[:1]).assign(new=1), path)
    history = pd.read_csv(path)
    assert history["what"].tolist() == ["a", "b", "a"]
    assert history["new"].tolist()[2:] == [1]
    assert history[["date", "commit", "system", "torch"]].notna().all(axis=None)


def test_files_go_where_outputs_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without --out the files are in outputs/benchmark, not in the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = rows_of("name", "shape", {"a": Timing(2e6, 0), "b": Timing(1e6, 0)}, "b")
    monkeypatch.setattr(benchmarks, "run_benchmarks", lambda names, layers: pd.DataFrame(rows))
    benchmark.main(["step"])
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    found = {path.name for path in (tmp_path / "outputs" / "benchmark").iterdir()}
    assert found == {"benchmark.csv", "benchmark.png", "history.csv"}


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is one line and exit code 2."""
    with pytest.raises(SystemExit) as left:
        benchmark.main(["stepp"])
    assert left.value.code == 2
    assert (
        capsys.readouterr().err.strip()
        == f"error: benchmark 'stepp' is unknown; expected any of {', '.join(benchmark.NAMES)}"
    )


@pytest.mark.slow
def test_plans_are_within_their_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each planner keeps its budget, and none takes fewer operations than plain backpropagation."""
    monkeypatch.setattr(plans, "NETWORKS", TINY_NETWORKS)
    monkeypatch.setattr(plans, "BUDGETS", (0.9, 0.7))
    monkeypatch.setattr(plans, "THEIR_BUDGETS", (1.0,))
    monkeypatch.setattr(plans, "PROOF_SECONDS", 0.2)
    frame = pd.DataFrame(plans.planning(layers=1))
    plain = frame.loc[frame["what"] == plans.PLAIN, "peak_bytes"].item()
    assert (frame["peak_bytes"] <= frame["budget"] * plain).all()
    assert (frame["ratio"] >= 1).all()
    assert {plans.COUNTED, "selective", "optimal", "proven"} <= set(frame["what"])
    write_benchmark(frame, tmp_path)
    assert (tmp_path / "plans.png").stat().st_size > 10_000
    assert not (tmp_path / "benchmark.png").exists()
    assert "autoencoder: operations as a multiple of store_all" in capfd.readouterr().out


def test_a_network_without_layers_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """The depth of the transformers is at least one."""
    with pytest.raises(SystemExit):
        benchmark.main(["plans", "--layers", "0"])
    assert "layers = 0; expected at least 1" in capfd.readouterr().err


class Noisy(nn.Module):
    """Layers with much dropout, which is cheaper to run again than to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = nn.functional.dropout(torch.tanh(layer(x)), 0.5)
        return x.square().sum()


def noisy() -> architectures.Training:
    return architectures.Training(Noisy(), lambda model, x: model(x), (torch.randn(32, 8),))


@pytest.mark.slow
def test_their_choices_are_measured_on_the_same_draws_and_without_statistics() -> None:
    """With dropout the first choice gives the plain step's gradients; a net with batch norms, whose
    statistics are left out, has a choice that takes less memory.
    """
    torch.manual_seed(0)
    (kept,) = remat.measured_choices(noisy(), (1.0,))
    assert kept.peak_bytes > 0
    training = architectures.unet((2, 3), batch=2, size=8)
    plain, less = remat.measured_choices(training, (1.0, 0.5))
    assert less.peak_bytes < plain.peak_bytes
    assert less.operations > plain.operations
    norms = [one for one in training.model.modules() if isinstance(one, nn.BatchNorm2d)]
    assert len(norms) > 1
    assert all(norm.running_mean is not None for norm in norms)


def test_other_gradients_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A choice of PyTorch's that draws other random numbers in backward is no row."""
    torch.manual_seed(0)
    assert remat.measured_choices(noisy(), (0.0,)) == []
    assert "activation_memory_budget=0 gives other gradients: left out" in caplog.text


def test_a_choice_that_fails_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What its compilers raise is one line, and no row."""

    def fail(training: Any, budget: float) -> Any:
        raise RuntimeError("modified by an inplace operation")

    monkeypatch.setattr(remat, "partitioned_step", fail)
    assert remat.measured_choices(noisy(), (0.5,)) == []
    assert "activation_memory_budget=0.5 fails and is left out: modified by" in caplog.text
