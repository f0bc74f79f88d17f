"""Any device: every op, loss, mode, planner, slice and audit gives the numbers of the CPU.

`meta`, which allocates nothing, stands for a device that is not the CPU. The same tests run on a
card under `-m cuda`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from autodiff import (
    ComputationNode,
    Executable,
    Fill,
    Leaf,
    Program,
    RecomputeAll,
    Revolve,
    Spec,
    StoreAll,
    TapemeasureError,
    Uniform,
    backward_algorithm,
    forward_algorithm,
    gradients,
    linearize,
    networks,
    ops,
)
from autodiff.devices import current_device, on_device_of, usable_device
from profiler import Profile, profile
from profiler.audit import audit_scalars, audit_storages
from profiler.prediction import MODES, program_of_mode
from tests.support.op_cases import CASES, Values

DEVICES = ["meta", pytest.param("cuda", marks=pytest.mark.cuda)]

on_every_device = pytest.mark.parametrize("device", DEVICES)


def moved(node: ComputationNode, device: str) -> ComputationNode:
    """The same node, the tensors of its leaves on another device."""
    for leaf in node.sorted_nodes():
        if isinstance(leaf, Leaf) and isinstance(leaf.value, torch.Tensor):
            leaf.value = leaf.value.to(device)
    return node


def numbers(found: Profile) -> tuple[Any, ...]:
    """Every number of a profile but times."""
    return (
        found.ops_by_phase,
        found.ledger.nbytes.tolist(),
        found.ledger.live_by_role.tolist(),
        found.given_bytes,
        found.peak_bytes,
        found.live_after_bytes,
    )


def audited(program: Program, planner: Any = None) -> None:
    """Run both audits on a program."""
    schedule = (planner or StoreAll())(program)
    audit_storages(program, schedule).raise_if_wrong()
    results, _ = Executable(program, schedule).run()
    audit_scalars(program, schedule, results=results).raise_if_wrong()


def all_on(device: str, found: Profile) -> bool:
    """Whether the loss and all gradients of a run are there."""
    return {value.device.type for value in (found.loss, *found.gradients)} == {device}


@on_every_device
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_networks(activation: str, loss: str, mode: str, device: str) -> None:
    """Every activation, loss and mode runs there, with the numbers of the CPU."""
    options = {"activation": activation, "loss": loss}
    there, here = (
        program_of_mode(networks.chain(3, 4, 5, device=place, **options), mode)  # type: ignore[arg-type]
        for place in (device, "cpu")
    )
    planner = RecomputeAll() if mode == "checkpointed" else StoreAll()
    found = profile(there, planner=planner)
    assert numbers(found) == numbers(profile(here, planner=planner))
    assert all_on(device, found)
    audited(there, planner)


@on_every_device
@pytest.mark.parametrize(
    "planner",
    [StoreAll(), RecomputeAll(), Uniform(2), Revolve(snapshots=1), Revolve(max_ops_ratio=1.5)],
    ids=str,
)
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_planners_and_slices(planner: Any, micro_batches: int, device: str) -> None:
    """Every planner, and gradient accumulation, runs there, with the numbers of the CPU."""
    if micro_batches > 1 and not isinstance(planner, StoreAll):
        micro_batches = 1  # planners checkpoint one chain
    there, here = (
        networks.chain(6, 4, 6, loss="cross_entropy", micro_batches=micro_batches, device=place)
        for place in (device, "cpu")
    )
    found = profile(there.loss, there.weights, planner=planner)
    assert numbers(found) == numbers(profile(here.loss, here.weights, planner=planner))
    assert all_on(device, found)


@on_every_device
@pytest.mark.parametrize("case", sorted(CASES))
def test_ops(case: str, device: str) -> None:
    """Every op and its gradient runs there, audited, with the bytes and operations of the CPU."""
    found = []
    for place in (device, "cpu"):
        node = moved(CASES[case](Values(), 3, 4, 2), place)
        leaves = [
            leaf
            for leaf in node.sorted_nodes()
            if isinstance(leaf, Leaf) and leaf.spec is not None and leaf.spec.dtype != torch.int64
        ]
        loss = ops.Matsum(node) if node.shape else node
        program = linearize([loss, *gradients(loss, leaves)])
        found.append(numbers(profile(program)))
        audited(program)
    assert found[0] == found[1]


@on_every_device
@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("loss", networks.LOSSES)
def test_the_exercise_algorithms(activation: str, loss: str, device: str) -> None:
    """Node by node, too, everything is made where the leaves are, also gradients of gradients."""
    network = networks.chain(2, 3, 4, activation=activation, loss=loss, device=device)
    backward_algorithm(forward_algorithm(network.loss))
    (first,) = gradients(network.loss, network.weights[:1])
    (second,) = gradients((first * first).sum(), network.weights[1:])
    for node in (first, second):
        assert forward_algorithm(node).result.device.type == device
    assert network.weights[0].gradient.device.type == device
    assert network.weights[0].gradient.shape == (3, 3)


def test_a_gradient_of_zeros_is_made_where_its_leaf_is() -> None:
    """A derivative that is zero everywhere needs no input, and is on the device all the same."""
    x = Leaf(torch.ones(2, 2, device="meta"), "x")
    (first,) = gradients(x.relu().sum(), [x])  # type: ignore[attr-defined]
    (second,) = gradients(first.sum(), [x])
    assert not [node for node in second.sorted_nodes() if isinstance(node, Leaf)]
    assert forward_algorithm(second).result.is_meta
    assert profile(first.sum(), [x]).gradients[0].is_meta


@pytest.mark.cuda
@pytest.mark.parametrize("loss", networks.LOSSES)
def test_values_on_a_card_are_those_of_the_cpu(loss: str) -> None:
    """A card gives the same loss and gradients, to rounding."""
    there, here = (
        networks.chain(4, 8, 16, loss=loss, dtype=torch.float64, device=device)
        for device in ("cuda", "cpu")
    )
    found = profile(there.loss, there.weights)
    expected = profile(here.loss, here.weights)
    for one, other in zip(found.gradients, expected.gradients, strict=True):
        torch.testing.assert_close(one.cpu(), other)


@pytest.mark.cuda
def test_live_bytes_are_those_of_the_cards_allocator() -> None:
    """The peak of the ledger is what the allocator of a card adds, up to its blocks of 512
    bytes.
    """
    network = networks.chain(6, 256, 256, device="cuda")
    program = linearize([network.loss, *gradients(network.loss, network.weights)])
    executable = Executable(program, StoreAll()(program))
    executable.run()  # the library of products takes its workspace
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    executable.run()
    peak = torch.cuda.max_memory_allocated() - before
    predicted = profile(network.loss, network.weights, execute=False).peak_bytes
    assert predicted <= peak <= predicted + 512 * len(program.values)


def test_values_that_are_given_say_where_it_runs() -> None:
    """Values handed over by number decide the device, wherever the leaves are."""
    network = networks.chain(2, 3, 4, activation="gelu")
    program = linearize([network.loss, *gradients(network.loss, network.weights)])
    given = {i: program.values[i].source.value.to("meta") for i in program.given}
    results, _ = Executable(program, StoreAll()(program)).run(given)
    assert {result.device.type for result in results} == {"meta"}


def test_single_elements_of_the_cpu_go_with_any_device() -> None:
    """A matrix elsewhere and a single element of the CPU run where the matrix is."""
    scale = Leaf(torch.tensor(2.0), "s")
    x = Leaf(torch.ones(2, 2, device="meta"), "x")
    for loss in (ops.Mul(scale, x).sum(), ops.Mul(x, scale).sum()):
        assert profile(loss, [x]).gradients[0].is_meta


def test_the_device_of_a_run_ends_with_it() -> None:
    """The device is that of the innermost run, and none outside; a seed is made on it."""
    assert current_device() is None
    with on_device_of([1.0, torch.ones(()), torch.ones(2, device="meta")]):
        assert current_device() == torch.device("meta")
        assert Fill(Spec((2,), torch.float32), 1.0).compute().is_meta
        with on_device_of([torch.ones(2)]):
            assert current_device() == torch.device("cpu")
        with pytest.raises(ZeroDivisionError), on_device_of([torch.ones(2)]):
            _ = 1 / 0
        assert current_device() == torch.device("meta")
    assert current_device() is None
    assert not Fill(Spec((2,), torch.float32), 1.0).compute().is_meta


UNUSABLE = ["abc", "cpu:x", "", "hip", *([] if torch.cuda.is_available() else ["cuda", "cuda:1"])]

USERS: dict[str, Callable[[str], Any]] = {
    "chain": lambda device: networks.chain(2, 3, 4, device=device),
    "draw": lambda device: networks.chain(2, 3, 4, values=False).draw(device=device),
    "usable_device": usable_device,
}


@pytest.mark.parametrize("device", UNUSABLE)
@pytest.mark.parametrize("user", USERS)
def test_a_device_that_is_not_here_is_refused(user: str, device: str) -> None:
    """A name of no device, or of one that this machine lacks, is refused in one line."""
    with pytest.raises(TapemeasureError, match="expected a device of this machine: cpu") as error:
        USERS[user](device)
    assert str(error.value).startswith(f"device {device!r} cannot be used")
    assert "\n" not in str(error.value)


def test_devices_that_are_here() -> None:
    """The CPU and meta are everywhere."""
    assert usable_device("cpu") == torch.device("cpu")
    assert usable_device(torch.device("meta")) == torch.device("meta")
