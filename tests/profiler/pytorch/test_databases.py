"""`profile_step` on PyTorch's own databases of ops and modules, forward and backward.

For each sample the peak is the same measured, by a tracker of storages that shares no code, and
predicted on fake tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff.aten import kernels
from autodiff.errors import ValuesError
from profiler import profile_step
from profiler.pytorch.kinds import kind_of
from tests.support.databases import Make, module_samples, modules, op_samples, ops, step_of
from tests.support.tracker import tracked_peak

NOT_RUN = {
    **dict.fromkeys(
        (
            "jiterator_unary",
            "jiterator_binary",
            "jiterator_4inputs_with_extra_args",
            "jiterator_binary_return_by_ref",
            "jiterator_2inputs_2outputs",
        ),
        "compiles kernels for a card",
    ),
    **dict.fromkeys(
        (
            "torch.ops.aten._flash_attention_forward",
            "torch.ops.aten._efficient_attention_forward",
            "nn.functional.batch_norm.without_cudnn",
        ),
        "has no samples on the CPU",
    ),
}
"""Ops of the database that do not run on the CPU, and why."""

PREDICTED_OTHERWISE = {
    "to_sparse": "how many elements are not zero depends on values",
    "sparse.mm.reduce": "PyTorch's fake gradient of a CSR matrix has no elements",
    "sparse.sampled_addmm": "PyTorch's fake gradient of a CSR matrix has no elements",
    "nn.functional.one_hot": "PyTorch runs other ops for it on fake tensors",
}
"""Ops and modules whose prediction differs from what is measured, and why."""


def peaks(make: Make) -> tuple[int, int, int | None]:
    """Return the tracked, the measured and the predicted peak; None where values are needed."""
    tracked = tracked_peak(step_of(make)[0])
    step, module = step_of(make)
    found = profile_step(step, model=module)
    assert all(min(astuple(cost)) >= 0 for cost in found.ops_by_phase.values())
    mode = FakeTensorMode()
    step, module = step_of(make, mode)
    try:
        with mode:
            predicted = profile_step(step, model=module).peak_bytes
    except ValuesError:
        return tracked, found.peak_bytes, None
    return tracked, found.peak_bytes, predicted


CHUNKS = 16
"""How many tests the databases are divided into; they are slow to import, and so to collect."""


def difference(name: str, samples: Iterable[Make]) -> str:
    """Return how the three peaks of each sample differ; nothing where that is as expected."""
    try:
        found = [peaks(make) for make in samples]
    except Exception as error:
        return f"{name}: {error!r}"
    differs = any(predicted not in (None, measured) for _, measured, predicted in found)
    is_tracked = all(tracked == measured for tracked, measured, _ in found)
    return "" if is_tracked and differs == (name in PREDICTED_OTHERWISE) else f"{name}: {found}"


def _is_refused(make: Make) -> bool:
    """Return whether PyTorch refuses to run a step on this machine."""
    with pytest.raises(AssertionError, match="Jiterator"):
        step_of(make)[0]()
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_ops(chunk: int) -> None:
    """The three peaks of each sample of an op are equal, but for the differences named above."""
    names = [name for name in list(ops())[chunk::CHUNKS] if name not in NOT_RUN]
    differences = [difference(name, op_samples(name, 3)) for name in names]
    assert not list(filter(None, differences))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_modules(chunk: int) -> None:
    """The three peaks of a module's step are equal, in training and in evaluation."""
    names = list(modules())[chunk::CHUNKS]
    differences = [difference(name, module_samples(name, 4)) for name in names]
    assert not list(filter(None, differences))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_is_named_above() -> None:
    """Ops and modules that are named exist, and those that are not run are refused by PyTorch."""
    assert {*NOT_RUN, *PREDICTED_OTHERWISE} <= {*ops(), *modules()}
    assert all(_is_refused(make) for name in NOT_RUN for make in op_samples(name, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_wrong_prediction_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the correction of an op its prediction differs from what is measured."""
    make = list(op_samples("nn.functional.mse_loss", 3))[1]
    tracked, measured, predicted = peaks(make)
    assert tracked == measured == predicted
    monkeypatch.setitem(kernels.CORRECTIONS, "aten::mse_loss", lambda args, out: out)
    tracked, measured, predicted = peaks(make)
    assert predicted != measured == tracked


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_wrong_measurement_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that takes new results for old storages measures less than the tracker does."""
    make = next(op_samples("exp", 1))
    monkeypatch.setattr("profiler.pytorch.recorder.IN_PLACE", kind_of(torch.ops.aten.exp.default))
    tracked, measured, _ = peaks(make)
    assert measured < tracked
