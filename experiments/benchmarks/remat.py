"""PyTorch's own choice of what to compute again, `activation_memory_budget`, measured like ours.

Its partitioner cuts the joint graph of a step; both parts then run op by op, so that peaks and
operations are those of its choice and not of fused kernels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from experiments.measuring.architectures import Training
from profiler.pytorch.steps import profile_step

log = logging.getLogger("tapemeasure")


class Measured(NamedTuple):
    """A step's peak and operations."""

    peak_bytes: int
    operations: int


def measured_choices(training: Training, budgets: tuple[float, ...]) -> list[Measured]:
    """Return what a step takes under each budget of PyTorch's.

    A budget under which the step raises, or gives other gradients, is left out with a line.
    """
    plain = profile_step(training.step, *training.batch, model=training.model)
    found = []
    for budget in budgets:
        try:
            step = partitioned_step(training, budget)
            profile = profile_step(step, *training.batch, model=training.model)
        except Exception as error:  # whatever its compilers or the changed step raise
            log.warning(
                "activation_memory_budget=%g fails and is left out: %s",
                budget,
                str(error).strip().splitlines()[0][:100],
            )
            continue
        if not _are_close(profile.gradients, plain.gradients):
            log.warning("activation_memory_budget=%g gives other gradients: left out", budget)
            continue
        found.append(Measured(profile.peak_bytes, profile.ops.total))
    return found


def _are_close(found: Any, expected: Any) -> bool:
    found, expected = (one.values() if isinstance(one, dict) else one for one in (found, expected))
    return all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-5)
        for one, other in zip(found, expected, strict=True)
    )


def partitioned_step(training: Training, budget: float) -> Callable[..., Any]:
    """Return the step, cut by PyTorch's partitioner and compiled to run op by op."""
    from torch._functorch import config
    from torch._functorch.aot_autograd import aot_function
    from torch._functorch.partitioners import min_cut_rematerialization_partition

    model = training.model
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss_of(parameters: Any, buffers: Any, batch: Any) -> torch.Tensor:
        def called(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(model, parameters | buffers, args, kwargs)

        return training.loss_of(called, *batch)

    compiled = aot_function(
        loss_of,
        fw_compiler=_op_by_op,
        bw_compiler=_op_by_op,
        partition_fn=min_cut_rematerialization_partition,
    )

    def step(*batch: torch.Tensor) -> Any:
        loss = compiled(parameters, buffers, batch)
        return loss, torch.autograd.grad(loss, list(parameters.values()))

    with config.patch(activation_memory_budget=budget), torch.compiler._compile_session_context():
        step(*training.batch)
    return step


def _op_by_op(gm: Any, example_inputs: Any) -> Callable[..., Any]:
    """Return a function that runs a graph and lets go of each input after its last read."""
    from torch.fx.graph import _BoxedCodeGen

    gm.graph.set_codegen(_BoxedCodeGen())
    gm.recompile()

    def run(inputs: list[Any]) -> Any:
        return gm.forward(inputs)

    run._boxed_call = True  # type: ignore[attr-defined]  # how PyTorch marks them
    return run
