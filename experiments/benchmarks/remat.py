"""PyTorch's own choice of what to compute again, `activation_memory_budget`, measured like ours.

Its partitioner cuts the joint graph of a step; both parts then run op by op, so that peaks and
operations are those of its choice and not of fused kernels. Steps draw the same random numbers.

Bound: batch norms keep no running statistics here. No gradient depends on these, our programs leave
them out too, and with them every budget below 1 fails, since what backward runs again would read
what forward has overwritten. A choice that runs dropout again draws other numbers; its gradients
are wrong, and it is left out.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from experiments.measuring.architectures import Training
from profiler.pytorch.steps import profile_step

log = logging.getLogger("tapemeasure")

SEED = 0
"""Of dropout's draws, before each step that is compared."""


class Measured(NamedTuple):
    """A step's peak and operations."""

    peak_bytes: int
    operations: int


def measured_choices(training: Training, budgets: tuple[float, ...]) -> list[Measured]:
    """Return what a step takes under each budget of PyTorch's.

    A budget under which the step raises, or gives other gradients, is left out with a line.
    """
    training = without_statistics(training)
    plain = _profiled(training, training.step)
    found = []
    for budget in budgets:
        try:
            step = partitioned_step(training, budget)
            profile = _profiled(training, step)
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


def without_statistics(training: Training) -> Training:
    """Return a training whose batch norms have no running statistics; its tensors are the same."""
    kept = {id(one): one for one in training.model.parameters()}
    model = copy.deepcopy(training.model, kept)
    for norm in model.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return replace(training, model=model)


def _profiled(training: Training, step: Callable[..., Any]) -> Any:
    """Return the profile of a step that draws the same random numbers as every other."""
    torch.manual_seed(SEED)
    return profile_step(step, *training.batch, model=training.model)


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
