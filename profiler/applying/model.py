"""A model that trains within a bound on memory, in the loop that it was trained in before.

    model = tapemeasure.checkpointed(model, max_bytes="8GiB")

The same module comes back, with another `forward`: parameters, buffers, `state_dict`, hooks and
modes are what they were. The first call in training compiles and plans; later calls with the same
shapes run. Without gradients the model runs as it always did.

A model that returns a loss and other tensors is differentiated through the loss only: gradients of
the others would be as large as they are, and zero. Who differentiates one of them is refused.

Bound: the model must be traceable as one graph; what is not is refused with its line, never run
without a plan. What the model writes to a log while it is traced is not written.
"""

from __future__ import annotations

from typing import TypeVar, Unpack

import torch

from autodiff.errors import GraphError
from profiler.applying.forward import PlannedForward
from profiler.applying.plans import Plans
from profiler.applying.requests import Options, Request, Size
from profiler.applying.rerunning import run_again

Model = TypeVar("Model", bound=torch.nn.Module)


def checkpointed(
    model: Model,
    max_bytes: Size | None = None,
    **options: Unpack[Options],
) -> Model:
    """Return the model, whose training step from now on stays within a bound on memory.

    `max_bytes` bounds the live bytes of a step (activations and gradients), `memory` also
    parameters, buffers, inputs, the state of `optimizer` and its update, and, with
    `accumulate=True`, gradients of an earlier batch. `planner` or `plan`, a file that
    `model.plan.to_csv` wrote, take the place of a bound. `on_infeasible="least"` takes the least
    where nothing fits, in the place of "raise". `outside_bytes` are what the loss outside of the
    model takes; by default twice the gradients of the outputs. `cost` is "ops" (the default),
    "seconds", or a function from a program to the cost of each instruction.
    `mechanism="checkpoint"` compiles nothing: blocks run again by torch.utils.checkpoint;
    `inductor=True` compiles the plan's two graphs by Inductor. `cache` is a directory of plans, or
    False; `quiet=True` prints nothing.
    Raises PlannerError where the request is none, and at the first call where nothing fits;
    GraphError, with the line, at the first call of a model that is not one graph.
    """
    if not isinstance(model, torch.nn.Module):
        raise GraphError(f"model is a {type(model).__name__}; expected a torch.nn.Module; give one")
    request = Request.of(Options, max_bytes, **options)
    run_again(model, [])  # an earlier plan may have put its own functions on blocks
    earlier = model.__dict__.get("forward")
    if isinstance(earlier, PlannedForward):
        earlier = earlier.earlier
    plans = Plans()
    model.forward = PlannedForward(model, request, plans, earlier)
    model.plan = plans  # type: ignore[assignment]  # modules hold what they are given
    return model
