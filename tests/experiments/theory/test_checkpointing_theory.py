"""The planners' operations and peaks equal those of the independent theory."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autodiff import Planner, RecomputeAll, Revolve, StoreAll, Uniform, advances
from autodiff.instructions import PHASES
from experiments import theory
from experiments.theory import (
    ACTIVATIONS,
    LOSSES,
    TheoryError,
    checkpointing as theory_checkpointing,
    moments as theory_segments,
)
from experiments.theory.checkpointing import Checkpointed, checkpointed
from profiler import Profile, profile
from tests.support.chains import chain_program

SHAPES = [(1, 1), (1, 3), (2, 50), (6, 8), (20, 3)]


def planners(n: int) -> Iterator[tuple[str, dict[str, int], Planner]]:
    """Every planner with a formula, as the theory and as the engine call it."""
    yield "store_all", {}, StoreAll()
    yield "recompute_all", {}, RecomputeAll()
    yield "uniform", {}, Uniform()
    for k in range(1, n + 1):
        yield "uniform", {"segments": k}, Uniform(k)
    for s in range(1, n + 2):
        yield "revolve", {"snapshots": s}, Revolve(s)


def agrees(found: Profile, derived: Checkpointed) -> bool:
    """Whether operations of every phase and kind, flops and the peak are equal."""
    kinds = ("multiplications", "additions", "comparisons", "elementary", "matmul_flops")
    return found.peak_bytes == 4 * derived.peak_elements and all(
        getattr(found.ops_by_phase[phase], kind) == getattr(derived.operations[phase], kind)
        for phase in PHASES
        for kind in kinds
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_prediction_is_the_derived_number(activation: str, loss: str) -> None:
    """For every planner, depth and regime, operations by phase and kind and the peak are exact."""
    for n in (1, 2, 3, 5, 8):
        for d, b in SHAPES:
            program = chain_program(n, d, b, activation, loss)
            for name, arguments, planner in planners(n):
                derived = checkpointed(name, n, d, b, activation=activation, loss=loss, **arguments)
                assert agrees(profile(program, planner=planner, execute=False), derived), (
                    n,
                    d,
                    b,
                    name,
                    arguments,
                )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_measured_is_predicted_is_derived(activation: str) -> None:
    """Executed, too, with the bytes that the tensors themselves tell."""
    for d, b in [(3, 20), (12, 4)]:
        program = chain_program(6, d, b, activation, values=True)
        for name, arguments, planner in planners(6):
            measured, predicted = (
                profile(program, planner=planner, execute=execute) for execute in (True, False)
            )
            assert measured.peak_bytes == predicted.peak_bytes
            assert agrees(measured, checkpointed(name, 6, d, b, activation=activation, **arguments))


@pytest.mark.parametrize(("n", "s"), [(64, 5), (66, 5), (90, 7), (150, 2)])
def test_long_chains_agree_too(n: int, s: int) -> None:
    """On both sides of the length up to which all splits are weighed."""
    for activation in ("tanh", "gelu"):
        for d, b in [(1, 40), (5, 6), (6, 1)]:
            program = chain_program(n, d, b, activation)
            derived = checkpointed("revolve", n, d, b, snapshots=s, activation=activation)
            assert agrees(profile(program, planner=Revolve(s), execute=False), derived)


def test_many_shapes_at_once_are_the_shapes_one_by_one() -> None:
    """Arrays of d and b give arrays of peaks, each the least for its shape."""
    d, b = (np.array(axis) for axis in zip(*SHAPES, strict=True))
    for name, arguments, _ in planners(9):
        for activation in ACTIVATIONS:
            together = checkpointed(name, 9, d, b, activation=activation, **arguments)
            alone = [
                checkpointed(name, 9, int(x), int(y), activation=activation, **arguments)
                for x, y in zip(d, b, strict=True)
            ]
            assert together.peak_elements.tolist() == [one.peak_elements for one in alone]
            assert together.operations["recompute"].total.tolist() == [
                one.operations["recompute"].total for one in alone
            ]


def test_storing_all_is_the_full_mode_of_the_other_closed_forms() -> None:
    """The segment that is everything has the peak that `theory_peaks` derives on its own way."""
    for activation in ACTIVATIONS:
        for loss in LOSSES:
            for n in range(1, 9):
                for d, b in SHAPES:
                    segments = checkpointed("store_all", n, d, b, activation=activation, loss=loss)
                    assert segments.peak_elements == theory.peak_elements(
                        "full", n, d, b, activation=activation, loss=loss
                    )


def test_the_theory_counts_advances_as_the_planners_do() -> None:
    """Its own search for r gives the t of the planners' closed form."""
    assert all(
        theory_checkpointing.advances(n, s) == advances(n, s)
        for n in range(1, 120)
        for s in range(1, 25)
    )


def test_a_wrong_moment_or_a_wrong_count_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails for weightless snapshots, or other operations per layer."""
    found = profile(chain_program(9, 2, 50), planner=Revolve(3), execute=False)

    def derived_agrees() -> bool:
        return agrees(found, checkpointed("revolve", 9, 2, 50, snapshots=3))

    assert derived_agrees()
    with monkeypatch.context() as patch:
        patch.setattr(theory_segments.Network, "x", lambda self, k: 0)
        assert not derived_agrees()
    with monkeypatch.context() as patch:
        patch.setattr(
            theory_checkpointing,
            "_layer",
            lambda activation, d, b: theory.operations("no_grad", 1, d, b)["forward"],
        )
        assert not derived_agrees()
    assert derived_agrees()


@pytest.mark.parametrize(
    ("planner", "arguments"),
    [
        ("revolv", {}),
        ("revolve", {}),
        ("revolve", {"snapshots": 0}),
        ("uniform", {"segments": 9}),
        ("uniform", {"segments": 0}),
    ],
)
def test_what_no_formula_covers_is_refused(planner: str, arguments: dict[str, int]) -> None:
    """An unknown planner, a count that is missing or out of range: one line."""
    with pytest.raises(TheoryError, match="expected"):
        checkpointed(planner, 8, 4, 4, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [theory_checkpointing, theory_segments])
def test_the_theory_imports_nothing_of_the_engine(module: Any) -> None:
    """Only theory, numpy and the standard library."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not any(name.split(".")[0] in ("autodiff", "profiler", "torch") for name in names)
    assert all(
        name.startswith("experiments.theory") for name in names if name.startswith("experiments")
    )
