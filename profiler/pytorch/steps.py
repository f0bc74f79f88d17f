"""The measurement of plain PyTorch: any training step, as it runs.

`profile_step(step, *args, model=model)` runs `step(*args)` once under a dispatch mode and returns
the `Profile` that the engine's own graphs have. It works on real, meta and fake tensors; on the
latter two nothing is allocated. What existed before the step (parameters, inputs, buffers, an
optimizer's state) is reported by role and is not in the live bytes. With `device="cuda"` the bytes
are those of a card, predicted without one.

Bound: `wall_ns` contains the cost of measuring. See `recorder` for what cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter_ns
from typing import Any

import torch
from torch._guards import active_fake_mode
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from autodiff.errors import GraphError, ValuesError
from profiler.measurement import Profile
from profiler.pytorch import watching
from profiler.pytorch.allocator import reserved, rounded
from profiler.pytorch.cuda import WORKSPACE, as_on_cuda, workspaces
from profiler.pytorch.interpret import ledger_of_notes, operations_of, phases_of
from profiler.pytorch.modules import module_rows, parameter_bytes_by_module
from profiler.pytorch.names import StepNames
from profiler.pytorch.notes import ROLES, Notes
from profiler.pytorch.recorder import Composites, Recorder

_VALUES_READ = (
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
)


_NO_DATA = "its data is not allocated yet"
"""What PyTorch says, at greater length, where a kernel reads a fake tensor."""

_NO_NUMPY = ".numpy() is not supported for tensor subclasses"


def profile_step(
    step: Callable[..., Any],
    *args: Any,
    model: torch.nn.Module | None = None,
    device: str = "cpu",
    attention: str | None = None,
) -> Profile:
    """Run `step(*args)` once and measure it: forward, backward and the optimizer's update.

    `model` names modules, parameters and buffers, and adds the rows of `Profile.by_module()`;
    without it, leaves that require gradients count as parameters. What the step returns is in
    `Profile.loss` and `Profile.gradients`, detached. With `device="cuda"` a step on fake tensors of
    the CPU is predicted as a card would run it (`profiler.pytorch.cuda` says how far), and
    `attention` forces one of its kernels. Raises GraphError where `step` is not callable, `model`
    is not a module or the device is none of the two, ValuesError where it asks for values that fake
    tensors do not have; what the step raises is raised.
    """
    if not callable(step):
        raise GraphError(
            f"step is a {type(step).__name__}; expected a callable that runs the step, such as "
            "lambda: loss(model(x)).backward()"
        )
    if model is not None and not isinstance(model, torch.nn.Module):
        raise GraphError(
            f"model is a {type(model).__name__}; expected a torch.nn.Module, or nothing"
        )
    parameters = parameter_bytes_by_module(model)
    if device != "cuda":
        _refuse_device(device, attention)
        notes, result = record_step(step, args, model)
        return profile_of_notes(notes, result, parameters)
    _refuse_real(args, model)
    with as_on_cuda(attention) as composites:
        notes, result = record_step(step, args, model, composites)
    return _on_cuda(notes, result, parameters)


def _on_cuda(notes: Notes, result: Any, parameters: dict[str, int]) -> Profile:
    """Interpret the notes of a step that ran as on a card: in the blocks of its allocator."""
    _ = notes.calls  # gives every size its value
    notes.sizes[:] = map(rounded, notes.sizes)
    profile = profile_of_notes(notes, result, parameters)
    ledger = profile.ledger
    names = StepNames(notes, list(ledger.phases))
    kept = workspaces((names.op(step), phase) for step, phase in enumerate(ledger.phases))
    given = [*(notes.sizes[buffer] for buffer in notes.given), *kept]
    columns = (ledger.nbytes.tolist(), ledger.born.tolist(), ledger.dies.tolist())
    return replace(
        profile,
        given_bytes=profile.given_bytes | {WORKSPACE: sum(kept)},
        reserved_bytes=reserved(given, *columns).reserved_bytes,
    )


def _refuse_device(device: str, attention: str | None) -> None:
    """Raise GraphError for a device that is not described, or a kernel without a card."""
    if device != "cpu":
        raise GraphError(f"device={device!r}; expected cpu or cuda")
    if attention is not None:
        raise GraphError(f"attention={attention!r} with device='cpu'; expected device='cuda'")


def _refuse_real(args: tuple[Any, ...], model: torch.nn.Module | None) -> None:
    """Raise GraphError unless all tensors are fake ones of the CPU."""
    given = [*pytree.tree_leaves(args), *(model.parameters() if model is not None else ())]
    for one in given:
        if isinstance(one, torch.Tensor) and (
            not isinstance(one, FakeTensor) or one.device.type != "cpu"
        ):
            kind = "a real tensor" if not isinstance(one, FakeTensor) else "a fake tensor"
            raise GraphError(
                f"device='cuda' with {kind} on {one.device}; expected fake tensors of the CPU, "
                "made under FakeTensorMode: a card's memory is predicted from them"
            )


def record_step(
    step: Callable[..., Any],
    args: tuple[Any, ...],
    model: torch.nn.Module | None,
    composites: Composites | None = None,
) -> tuple[Notes, Any]:
    """Run a step and return the notes of what happened, and what the step returned.

    `composites` run in the place of ops that are made of others.
    """
    recorder = Recorder(model is None, composites)
    with watching.modules(recorder, model):
        for i, leaf in enumerate(pytree.tree_leaves(args)):
            if isinstance(leaf, torch.Tensor):
                recorder.buffers.see(leaf, label=f"input {i}")
        with watching.step(recorder), _values_of_fake_tensors(), recorder:
            recorder.notes.start = perf_counter_ns()
            result = step(*args)
    return recorder.finish(), result


@contextmanager
def _values_of_fake_tensors() -> Iterator[None]:
    """Raise ValuesError where a step asks for values that fake tensors do not have."""
    try:
        yield
    except (*_VALUES_READ, RuntimeError) as error:
        if not isinstance(error, _VALUES_READ) and not _says_no_values(str(error)):
            raise
        func = getattr(error, "func", None)
        what = f" ({func})" if func is not None else ""
        raise ValuesError(
            f"the step reads values of tensors{what}, which fake tensors do not have; expected a "
            "step without .item() and the like; profile it on real tensors"
        ) from error


def _says_no_values(words: str) -> bool:
    """Return whether PyTorch's words mean that a fake tensor was asked for its values."""
    return _NO_DATA in words or (_NO_NUMPY in words and active_fake_mode() is not None)


def profile_of_notes(notes: Notes, result: Any, parameters: dict[str, int]) -> Profile:
    """Interpret the notes of a step."""
    phases = phases_of(notes)
    ops, uncounted = operations_of(notes, phases)
    names = StepNames(notes, phases)
    ledger = ledger_of_notes(notes, phases, names)
    given = dict.fromkeys(ROLES, 0)
    for buffer, role in notes.given.items():
        given[role] += notes.sizes[buffer]
    tensors = [
        leaf.detach() if leaf.requires_grad else leaf
        for leaf in pytree.tree_leaves(result)
        if isinstance(leaf, torch.Tensor)
    ]
    has_loss = bool(tensors) and tensors[0].numel() == 1
    wall = dict.fromkeys(ops, 0.0)
    before = notes.start
    for phase, call in zip(phases, notes.calls, strict=True):
        wall[phase] += call.done - before
        before = call.done
    return Profile(
        ops_by_phase=ops,
        ledger=ledger,
        planner="pytorch",
        loss=tensors[0] if has_loss else None,
        gradients=tensors[1:] if has_loss else tensors,
        wall_ns=wall,
        uncounted=uncounted | notes.elsewhere,
        given_bytes=given,
        modules=lambda: module_rows(notes, phases, ledger, names, parameters),
    )
