"""The instrumented step against PyTorch's eager and compiled ones, its kernels, its products."""

from __future__ import annotations

import logging
from typing import Any

import torch

from experiments.benchmarks.chain import (
    KERNELS,
    LARGE,
    PRODUCTS,
    SMALL,
    Chain,
    Rows,
    Step,
    named,
    rounds_for,
    rows_of,
)
from experiments.measuring.timing import alternate

log = logging.getLogger("tapemeasure")

SHAPES = (SMALL, LARGE)


def step() -> Rows:
    """Compare the instrumented step with PyTorch's eager and compiled ones, gradients equal."""
    rows: Rows = []
    for shape in SHAPES:
        chain = Chain.make(shape)
        executable = chain.instrumented()
        chain.require_equal(executable.run()[0][1:])
        chain.require_equal(chain.kernels())
        steps: dict[str, Step] = {
            "instrumented": executable.run,
            "eager": chain.eager,
            KERNELS: chain.kernels,
            PRODUCTS: chain.products,
        }
        compiled = _compiled(chain)
        if compiled is not None:
            steps["torch.compile"] = compiled
        rows += rows_of("step", named(shape), alternate(steps, rounds_for(shape)), "eager")
    return rows


def _compiled(chain: Chain) -> Step | None:
    """Return PyTorch's step through `torch.compile`; None where the machine cannot compile it."""
    x = chain.network.input.value

    def loss_of(weights: list[torch.Tensor]) -> torch.Tensor:
        h: torch.Tensor = x
        for weight in weights:
            h = torch.tanh(weight @ h)
        return h.sum()

    fast = torch.compile(loss_of)

    def compiled() -> Any:
        return torch.autograd.grad(fast(chain.weights), chain.weights)

    try:
        compiled()
    except Exception as error:  # whatever a compiler that is not there, or not whole, raises
        log.warning(
            "torch.compile does not work here and is left out: %s",
            str(error).strip().splitlines()[0],
        )
        return None
    return compiled
