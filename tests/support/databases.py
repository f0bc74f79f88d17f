"""Steps made of PyTorch's own databases of ops and modules, on real and on fake tensors."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

IN_DOUBLE = ("FractionalMaxPool2d", "FractionalMaxPool3d")
"""Modules whose samples are in double precision whatever is asked for."""

Step = Callable[[], Any]
Make = Callable[[], tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]
"""Makes, always the same, a callable with its arguments."""


@cache
def ops() -> dict[str, Any]:
    """Return PyTorch's database of ops, by name and variant."""
    with _importing():
        from torch.testing._internal.common_methods_invocations import op_db
    return {".".join(part for part in (op.name, op.variant_test_name) if part): op for op in op_db}


@cache
def modules() -> dict[str, Any]:
    """Return PyTorch's database of modules, by name."""
    with _importing():
        from torch.testing._internal.common_modules import module_db
    return {module.name.removeprefix("nn."): module for module in module_db}


@contextmanager
def _importing() -> Iterator[None]:
    """Undo what PyTorch's test tools do to the process: they forbid that its flags are set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.backends.__allow_nonbracketed_mutation_flag = True


def op_samples(name: str, most: int) -> Iterator[Make]:
    """Yield the first sample of an op and others from among its first twelve."""
    op = ops()[name]
    dtypes = op.supported_dtypes("cpu")
    if not dtypes:
        return
    dtype = torch.float32 if torch.float32 in dtypes else min(dtypes, key=str)
    grad = op.supports_autograd and dtype.is_floating_point
    torch.manual_seed(0)
    samples = list(itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=grad), 12))
    places = {place * (len(samples) - 1) // max(most - 1, 1) for place in range(most)}
    for sample in [samples[place] for place in sorted(places)]:
        given = op.op, (sample.input, *sample.args), sample.kwargs
        yield lambda given=given: given  # type: ignore[misc]


def module_samples(name: str, most: int) -> Iterator[Make]:
    """Yield the first samples of a module in training and in evaluation, warmed up."""
    info = modules()[name]
    dtype = torch.float64 if name in IN_DOUBLE else torch.float32
    for training in (True, False):

        def inputs(training: bool = training) -> Any:
            torch.manual_seed(0)
            return info.module_inputs_func(
                info, device="cpu", dtype=dtype, requires_grad=True, training=training
            )

        for place, sample in enumerate(inputs()[:most]):
            if sample.forward_input is None:
                continue

            def make(place: int = place, training: bool = training, inputs: Any = inputs) -> Any:
                given = inputs()[place]
                built = given.constructor_input
                module = info.module_cls(*built.args, **built.kwargs).train(training)
                with torch.no_grad():  # lazy modules make their parameters
                    module(*given.forward_input.args, **given.forward_input.kwargs)
                return module, given.forward_input.args, given.forward_input.kwargs

            yield make


def step_of(make: Make, mode: FakeTensorMode | None = None) -> tuple[Step, Any]:
    """Return a step, forward and backward, of fresh arguments, and the module that it runs.

    The step is to be run once. With a fake mode, arguments, parameters and buffers are its own.
    """
    function, args, kwargs = make()
    module = function if isinstance(function, torch.nn.Module) else None
    if mode is not None:
        fake = mode.from_tensor
        args, kwargs = pytree.tree_map_only(torch.Tensor, fake, (args, kwargs))
        for one in module.modules() if module is not None else ():
            for tensors in (one._parameters, one._buffers):
                for key, tensor in tensors.items():
                    tensors[key] = None if tensor is None else fake(tensor)
    leaves = [
        leaf
        for leaf in (*pytree.tree_leaves((args, kwargs)), *(module.parameters() if module else ()))
        if isinstance(leaf, torch.Tensor) and leaf.requires_grad
    ]

    def step() -> None:
        torch.manual_seed(0)
        results = [
            result.abs() if result.is_complex() else result
            for result in pytree.tree_leaves(function(*args, **kwargs))
            if isinstance(result, torch.Tensor) and result.requires_grad
        ]
        if results and leaves:
            total = sum(result.sum() for result in results)
            torch.autograd.grad(total, leaves, allow_unused=True)

    return step, module
