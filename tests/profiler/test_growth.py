"""Measuring again and again leaves nothing behind, in objects and in resident memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch

from autodiff import Revolve, networks
from autodiff.known import KnownSpecs
from autodiff.spec import Spec
from profiler import predict, profile, profile_step
from profiler.process import run_in_child


def one_graph() -> Callable[[], object]:
    """Measure one graph."""
    network = networks.chain(2, 4, 4)
    return lambda: profile(network.loss, network.weights)


def new_graphs() -> Callable[[], object]:
    """Measure a graph that is made anew."""

    def measure() -> object:
        network = networks.chain(2, 4, 4, micro_batches=2, loss="cross_entropy")
        return profile(network.loss, network.weights)

    return measure


def predictions() -> Callable[[], object]:
    """Predict a graph that is made anew, from shapes, and print what was predicted."""

    def measure() -> object:
        network = networks.chain(2, 4, 4, values=False)
        predict(network.loss, network.weights)
        return str(profile(network.loss, network.weights, execute=False))

    return measure


def plans() -> Callable[[], object]:
    """Measure a graph under a planner."""
    network = networks.chain(3, 4, 4)
    return lambda: profile(network.loss, network.weights, planner=Revolve(snapshots=1))


def pytorch_steps() -> Callable[[], object]:
    """Measure a step of PyTorch."""
    model, x = torch.nn.Linear(4, 4), torch.ones(2, 4)

    def step() -> None:
        model.zero_grad()
        model(x).sum().backward()

    return lambda: profile_step(step, model=model)


def leaking() -> Callable[[], object]:
    """Measure a graph, and keep the profile."""
    kept: list[object] = []
    measure = one_graph()
    return lambda: kept.append(measure())


KINDS = {make.__name__: make for make in (one_graph, new_graphs, predictions, plans, pytorch_steps)}


def growth(make: Callable[[], Callable[[], Any]], times: int) -> tuple[int, int]:
    """The objects and the resident bytes that so many measurements leave, after some to warm up."""
    measure = make()
    for _ in range(20):
        measure()
    gc.collect()
    objects, rss = len(gc.get_objects()), psutil.Process().memory_info().rss
    for _ in range(times):
        measure()
    gc.collect()
    return len(gc.get_objects()) - objects, psutil.Process().memory_info().rss - rss


@pytest.mark.parametrize("kind", KINDS)
def test_measurements_leave_no_objects(kind: str) -> None:
    """Forty measurements leave fewer than ten objects."""
    assert growth(KINDS[kind], 40)[0] < 10


def test_a_leak_is_seen() -> None:
    """Profiles that are kept are found."""
    assert growth(leaking, 40)[0] >= 40 * 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_measurements_leave_no_growth(kind: str) -> None:
    """In a process of its own, 1,000 measurements leave no objects and less than 2 MiB."""
    outcome = run_in_child(growth, KINDS[kind], 1000)
    assert outcome.reason == ""
    objects, rss = outcome.value
    assert objects < 10
    assert rss < 2 * 2**20


def test_remembered_specs_are_bounded() -> None:
    """However many different specs are met, no more than a fixed number is remembered."""
    known = KnownSpecs()
    for size in range(3 * known.most):
        spec = known.one(Spec((size,), torch.float32))
        assert known.one(Spec((size,), torch.float32)) is spec
        known.keep(int, [spec], spec)
    assert len(known._results) <= known.most
    assert len(known._one_of_a_kind) <= known.most
