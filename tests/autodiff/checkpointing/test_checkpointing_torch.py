"""The same network under PyTorch's own checkpointing, measured by tracked storages."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint_sequential

from autodiff import Uniform
from profiler.audit.storages import StorageTracker
from tests.support.chains import chain_program, peak_elements

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "gelu": torch.nn.GELU}


def torch_peak_elements(n: int, d: int, b: int, segments: int, activation: str) -> int:
    """Return the peak of a step with `checkpoint_sequential`, without parameters and the input."""
    layers = [
        torch.nn.Sequential(torch.nn.Linear(d, d, bias=False), ACTIVATIONS[activation]())
        for _ in range(n)
    ]
    network = torch.nn.Sequential(*layers)
    data = torch.randn(b, d)
    tracker = StorageTracker([*network.parameters(), data])
    with tracker:
        result = checkpoint_sequential(network, segments, data, use_reentrant=False)
        loss = result.sum()
        del result
        loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    return tracker.peak_bytes // 4


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("n", "d", "b"), [(5, 3, 50), (8, 20, 20), (9, 30, 5), (11, 8, 40)])
def test_equal_segments_take_no_more_than_pytorch(n: int, d: int, b: int, activation: str) -> None:
    """For any number of segments, in both regimes, the peak is at most checkpoint_sequential's."""
    program = chain_program(n, d, b, activation)
    for segments in range(1, n + 1):
        assert peak_elements(program, Uniform(segments)(program)) <= torch_peak_elements(
            n, d, b, segments, activation
        )


def test_the_tracker_sees_what_checkpointing_saves() -> None:
    """The tracker is no constant: more segments take less where activations dominate."""
    n, d, b = 16, 4, 100
    peaks = [torch_peak_elements(n, d, b, segments, "tanh") for segments in (1, 2, 4)]
    assert peaks[0] > peaks[1] > peaks[2]
    assert peaks[0] >= n * b * d
