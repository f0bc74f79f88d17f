"""Every op of PyTorch's own database, traced and run: eager's numbers, and peaks as predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves

from autodiff.aten.kernels import CORRECTIONS
from tests.support.traced import fault_of

SAMPLES = 2

ON_THE_CPU = [op for op in op_db if not op.name.startswith("jiterator")]
"""All ops but those that compile kernels for CUDA when they are called."""

BY_VALUES = "what it does, or the shape of its result, depends on values"
UNSET = "its result is memory that nothing has written"
FORMULA = "PyTorch differentiates it by another formula where tensors have no memory"
SPARSE = "sparse tensors are not traced"
KNOWN: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        [
            "allclose",
            "argwhere",
            "combinations",
            "corrcoef",
            "cov",
            "equal",
            "index_fill",
            "index_put",
            "linalg.lstsq",
            "linalg.lstsq.grad_oriented",
            "masked_select",
            "nn.functional.ctc_loss",
            "nn.functional.gaussian_nll_loss",
            "nonzero",
            "unique",
            "unique_consecutive",
        ],
        ("refused", BY_VALUES),
    ),
    **dict.fromkeys(
        [
            "empty",
            "empty_like",
            "empty_permuted",
            "empty_strided",
            "new_empty",
            "new_empty_strided",
        ],
        ("loss", UNSET),
    ),
    "prod": ("gradients", FORMULA),
    **dict.fromkeys(["sparse.mm.reduce", "sparse.sampled_addmm", "to_sparse"], ("refused", SPARSE)),
}
"""The ops of which not every sample is right, with the fault and its reason."""


def steps_of(op: Any) -> Iterator[Callable[..., Any]]:
    """Return a few steps of an op, one for each sample."""
    is_differentiable = op.supports_autograd and torch.float32 in op.supported_backward_dtypes(
        "cpu"
    )
    dtype = torch.float32 if op.supports_dtype(torch.float32, "cpu") else None
    if dtype is None:
        return
    for sample in islice(op.sample_inputs("cpu", dtype, requires_grad=is_differentiable), SAMPLES):
        yield step_of(op, sample)


def step_of(op: Any, sample: Any) -> Callable[..., Any]:
    """Return a step whose loss is the sum of all that an op returns."""
    wanted = [
        leaf
        for leaf in tree_leaves((sample.input, sample.args, sample.kwargs))
        if isinstance(leaf, torch.Tensor) and leaf.requires_grad
    ]

    def step() -> Any:
        found = op(sample.input, *sample.args, **sample.kwargs)
        parts = [
            part.abs().sum() if part.is_complex() else part.double().sum()
            for part in tree_leaves(found)
            if isinstance(part, torch.Tensor) and part.layout is torch.strided
        ]
        loss = sum(parts, torch.zeros((), dtype=torch.float64))
        reached = loss.requires_grad
        return loss, torch.autograd.grad(loss, wanted, allow_unused=True) if reached else ()

    return step


def name_of(op: Any) -> str:
    """Return an op's name with its variant's."""
    return ".".join(filter(None, (op.name, op.variant_test_name)))


def runs(step: Callable[..., Any]) -> bool:
    """Return whether a step runs in eager mode; some samples have no gradient."""
    try:
        step()
    except RuntimeError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ON_THE_CPU, ids=name_of)
def test_an_op_is_traced_as_it_runs(op: Any) -> None:
    """Results and gradients are eager's to the last bit, peaks as predicted, or one
    line refuses.
    """
    faults = {fault_of(step) for step in steps_of(op) if runs(step)} - {""}
    known = KNOWN.get(name_of(op))
    assert faults <= (set() if known is None else {known[0]})


def test_a_known_exception_still_is_one() -> None:
    """What is listed is in the database, and cheap ones of each reason still fail as listed."""
    by_name = {name_of(op): op for op in op_db}
    assert KNOWN.keys() <= by_name.keys()
    for name in ("nonzero", "to_sparse"):
        faults = {fault_of(step) for step in steps_of(by_name[name])}
        assert KNOWN[name][0] in faults


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose loss, or gradient, is another the next time is caught; so is a wrong
    prediction.
    """
    weight = torch.ones(3, requires_grad=True)
    calls = iter(range(100))

    def other_loss() -> Any:
        loss = (weight * next(calls)).sum()
        return loss, torch.autograd.grad(loss, [weight])

    def other_gradient() -> Any:
        loss = weight.sum()
        return loss, [torch.autograd.grad(loss, [weight])[0] * next(calls)]

    def right() -> Any:
        loss = torch.nn.functional.mse_loss(weight, torch.zeros(3))
        return loss, torch.autograd.grad(loss, [weight])

    assert fault_of(other_loss) == "loss"
    assert fault_of(other_gradient) == "gradients"
    assert fault_of(right) == ""
    monkeypatch.delitem(CORRECTIONS, "aten::mse_loss")
    assert fault_of(right) == "peak"
