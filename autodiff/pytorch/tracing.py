"""A PyTorch training step as a Program: forward and backward pass as one list of PyTorch's own ops.

`from_pytorch(step, *example_args)` runs the step once on tensors without memory and records ops;
where it writes in place, the recorded ops are rewritten so that every value is written once. The
program is run, measured, predicted and planned by the same code as any other.

Bound: the program holds for the shapes of the example arguments. A step whose control flow depends
on values cannot be traced; one that calls `.backward()` leaves its gradients elsewhere, and must
return `torch.autograd.grad(...)` instead. What a step writes into tensors from outside (running
statistics, say) is left out. Predictions are as good as PyTorch's own rules for shapes,
corrected where the CPU's kernels are known to differ (`aten.kernels`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from autodiff.errors import GraphError
from autodiff.instructions import INPUT, PARAMETER
from autodiff.program import Program
from autodiff.pytorch.building import Given, build
from autodiff.pytorch.functional import written_once
from autodiff.pytorch.recording import Differentiations, Recorder
from autodiff.pytorch.restoring import Restored


def from_pytorch(
    step: Callable[..., Any], *example_args: Any, model: torch.nn.Module | None = None
) -> Program:
    """Return the program of `step(*example_args)`, which returns the loss and the gradients.

    The gradients are those that `torch.autograd.grad` gave. `model` names the parameters.
    The model, the arguments and PyTorch's settings are left as they were. Raises GraphError, naming
    the line of the step, if it cannot be traced.
    """
    with Restored(step, example_args, model) as restored:
        recorder = Recorder(FakeTensorMode(), restored.watch, _refuse_backward)
        try:
            results = _run(step, example_args, recorder)
            calls = recorder.calls
            if any(call.writes for call in calls):
                calls, results = written_once(recorder, results)
        except GraphError:
            raise
        except Exception as error:  # a user's step, or PyTorch on its behalf, may raise anything
            raise GraphError(_refusal(error, step)) from error
    return build(_given(recorder, example_args, model), calls, results)


def given_values(program: Program) -> Mapping[int, Any]:
    """Return the given tensors by value; `Executable.run(given)` takes others in their place."""
    return {value: program.values[value].source.value for value in program.given}


def _run(step: Callable[..., Any], args: Sequence[Any], recorder: Recorder) -> Any:
    """Return the step's results, with fakes for tensors.

    Arguments that require a gradient are passed as they are, so that autograd sees one tensor where
    the step also closes over them.
    """

    def passed(tensor: torch.Tensor) -> torch.Tensor:
        fake = recorder.fake_of(tensor)
        return tensor if tensor.requires_grad else fake

    passed_args = tree_map_only(torch.Tensor, passed, tuple(args))
    is_cached = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(True)
    try:
        with recorder, Differentiations(recorder):
            results = step(*passed_args)
        return tree_map_only(torch.Tensor, recorder.fake_of, results)
    finally:
        torch.set_autocast_cache_enabled(is_cached)
        torch.clear_autocast_cache()


def _given(recorder: Recorder, args: Sequence[Any], model: torch.nn.Module | None) -> list[Given]:
    """Return the tensors from outside with names and roles.

    Parameters are what requires a gradient; but where the step closes over some, an argument that
    requires one is an input.
    """
    names = {} if model is None else {id(value): name for name, value in model.named_parameters()}
    passed = {id(leaf) for leaf in tree_leaves(tuple(args)) if isinstance(leaf, torch.Tensor)}
    captured = any(
        real.requires_grad and key not in passed for key, (real, _) in recorder.given.items()
    )
    given = []
    for number, (key, (real, fake)) in enumerate(recorder.given.items()):
        is_parameter = real.requires_grad and (
            key not in passed or not captured or isinstance(real, torch.nn.Parameter)
        )
        kind = "arg" if key in passed else "parameter" if is_parameter else "tensor"
        label = names.get(key, f"{kind}_{number}")
        given.append(Given(real, fake, label, PARAMETER if is_parameter else INPUT))
    return given


def _refusal(error: Exception, step: Callable[..., Any]) -> str:
    why = _what_depends_on_data(error) or f"{type(error).__name__}: {_first_line(error)}"
    return (
        f"the step cannot be traced at {_line_of(error, step)}: {why}; expected one fixed sequence "
        "of ops; write it without asking for values (torch.where instead of if, no .item(), no "
        "boolean index), or profile it as it runs with profile_step"
    )


def _what_depends_on_data(error: BaseException) -> str:
    """Return what in a step depends on values, if that is what an error says; else nothing."""
    kinds = {
        "DataDependent": "its control flow, or a number in it, depends on values",
        "DynamicOutputShape": "a shape in it depends on values",
    }
    for kind in type(error).__mro__:
        for name, why in kinds.items():
            if name in kind.__name__:
                return why
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _line_of(error: BaseException, step: Callable[..., Any]) -> str:
    """Return the file and line, innermost in the step's own file, at which an error arose."""
    code = getattr(step, "__code__", None) or getattr(
        getattr(step, "forward", None), "__code__", None
    )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    return _place((own or frames)[-1])


def _place(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} ({(frame.line or '').strip()})"


def _refuse_backward() -> NoReturn:
    """Raise GraphError: gradients without memory would be left in the parameters' `.grad`."""
    frames = [
        frame
        for frame in traceback.extract_stack()
        if "/torch/" not in frame.filename and "/autodiff/pytorch/" not in frame.filename
    ]
    raise GraphError(
        f"the step calls .backward() at {_place(frames[-1])}; "
        "expected the gradients as its result; "
        "return loss, torch.autograd.grad(loss, parameters)"
    )
