"""The forward pass of a model under a plan: compiled at the first call, checked at every call."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch._dynamo import exc
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from autodiff.errors import GraphError, PlannerError, TapemeasureError
from autodiff.schedule import Schedule
from profiler.applying.compiling import PlannedBackend
from profiler.applying.joint import Joint
from profiler.applying.nested import NestedPlan, NestedPlanner
from profiler.applying.planning import nested_plan, plan_for
from profiler.applying.plans import Plans
from profiler.applying.requests import Request
from profiler.applying.rerunning import run_again
from profiler.applying.signatures import signature_of

_MOST_SHAPES = 64
_LOGS = ("debug", "info", "warn", "error", "critical", "fatal", "exception", "log")


class PlannedForward:
    """The forward pass of a model under a plan.

    `earlier` is a function that had taken the place of the class's own `forward` before.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        request: Request,
        plans: Plans,
        earlier: Callable[..., Any] | None = None,
    ) -> None:
        """Prepare; nothing is traced before the first call."""
        self.model, self.request, self.plans, self.earlier = model, request, plans, earlier
        self._backend = PlannedBackend(
            self._planned, plans, self._names, request.outside_bytes, request.inductor
        )
        self._compiled: Callable[..., Any] | None = None
        self._compiled_for: dict[Hashable, int] = {}
        self._callers: dict[Hashable, NestedPlanner] = {}
        self._caller: NestedPlanner | None = None
        self._blocks: dict[Hashable, NestedPlan] = {}
        self._blocks_of: dict[bytes, NestedPlan] = {}
        self._running: Hashable = None
        functools.update_wrapper(self, type(model).forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model."""
        if torch.compiler.is_compiling():
            raise GraphError(
                "a checkpointed model is compiled again; expected one compiler, which is its own; "
                "leave out torch.compile"
            )
        if not torch.is_grad_enabled():
            return self._original()(*args, **kwargs)
        signature = signature_of(self.model, args, kwargs)
        is_watched = torch._C._len_torch_dispatch_stack() > 0
        if is_watched and signature not in self._compiled_for and signature not in self._blocks:
            raise GraphError(
                "the model is called under a dispatch mode, such as a profiler's, with shapes, "
                "modes or frozen parameters that it was not called with before; expected a call "
                "that has its plan; call the model once before it is measured"
            )
        if self.request.mechanism == "checkpoint":
            self._plan_blocks(signature, args, kwargs)
            return self._original()(*args, **kwargs)
        return self._run_compiled(signature, is_watched, args, kwargs)

    def _run_compiled(
        self, signature: Hashable, is_watched: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._compiled is None:
            self._compiled = torch.compile(
                _through_the_loss(self._original()),
                backend=self._backend,
                fullgraph=True,
                dynamic=False,
            )
        if signature not in self._callers:
            outside = self.request.outside_bytes
            self._callers[signature] = NestedPlanner(self.model, args, kwargs, outside)
        self._caller = self._callers[signature]
        with (
            self._backend.running(self._compiled_for[signature] if is_watched else None) as ran,
            _compiling(is_watched),
        ):
            result = self._compiled(*args, **kwargs)
        if not ran:
            raise GraphError(
                "the model ran without its plan, because compiling is turned off; expected a "
                "compiled run; leave TorchDynamo on"
            )
        self._compiled_for[signature] = ran[0]
        return _guarded(result)

    def _plan_blocks(
        self, signature: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Choose the blocks that run again: of signatures with the same ops and buffers, once."""
        if signature not in self._blocks:
            planner = NestedPlanner(self.model, args, kwargs, self.request.outside_bytes)
            known = self._blocks_of.get(planner.program)
            if known is None:
                known = nested_plan(planner, self.model, args, kwargs, self.request)
                self._blocks_of[planner.program] = known
                self.plans.add(known)
            self._blocks[signature] = known
        if self._running != signature:
            run_again(self.model, list(self._blocks[signature].modules))
            self._running = signature

    def _original(self) -> Callable[..., Any]:
        """Return the forward pass without a plan."""
        if self.earlier is not None:
            return self.earlier
        return type(self.model).forward.__get__(self.model)  # type: ignore[no-any-return]

    def _planned(self, joint: Joint) -> Schedule:
        tensors = [*self.model.parameters(), *self.model.buffers()]
        plan = plan_for(joint, self.request, tensors, self._caller)
        self.plans.add(plan)
        return plan.schedule

    def _names(self) -> dict[int, str]:
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        return {id(tensor): name for name, tensor in named}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with the model, to be compiled again."""
        return PlannedForward, (self.model, self.request, self.plans, self.earlier)


def _through_the_loss(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the forward pass with every result detached but the loss, if there is one."""

    def planned(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        leaves = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]
        if not any(leaf.requires_grad and leaf.numel() == 1 for leaf in leaves):
            return result

        def detached(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor) or leaf.numel() == 1 or not leaf.requires_grad:
                return leaf
            return leaf.detach()

        return tree_map(detached, result)

    return planned


class _NotDifferentiated(torch.autograd.Function):
    """The identity on a result of the model whose gradient is not planned."""

    @staticmethod
    def forward(ctx: Any, result: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
        """Return the result as it is."""
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> NoReturn:
        """Raise GraphError."""
        raise GraphError(
            "a result of the model other than its loss is differentiated; expected the loss alone, "
            "which is what was planned; return that result without a loss, and compute the loss "
            "outside"
        )


def _guarded(result: Any) -> Any:
    """Return the results; those that were detached refuse to be differentiated."""
    leaves, form = tree_flatten(result)
    loss = [one for one in leaves if isinstance(one, torch.Tensor) and one.requires_grad]
    if not loss or loss[0].numel() != 1:
        return result
    return tree_unflatten(
        [
            _NotDifferentiated.apply(leaf, loss[0])  # type: ignore[no-untyped-call]
            if isinstance(leaf, torch.Tensor)
            and leaf.is_floating_point()
            and not leaf.requires_grad
            and leaf.numel() != 1
            else leaf
            for leaf in leaves
        ],
        form,
    )


@contextmanager
def _compiling(is_watched: bool) -> Iterator[None]:
    """Compile into one graph, whose faults are raised in a line each."""
    # One graph, also within DistributedDataParallel; and what the model logs is no op.
    settings = {
        "optimize_ddp": False,
        "ignore_logging_functions": _logging_functions(),
        "recompile_limit": _MOST_SHAPES,
    }
    try:
        with torch._dynamo.config.patch(settings):
            if not is_watched:
                yield
                return
            # A dispatch mode makes every guard fail. Its caller has checked what they guard.
            with torch.compiler.set_stance("default", skip_guard_eval_unsafe=True):
                yield
    except exc.BackendCompilerFailed as error:
        if isinstance(error.inner_exception, TapemeasureError):
            raise error.inner_exception from None
        raise
    except (exc.Unsupported, exc.UserError) as error:
        raise GraphError(_refusal(error)) from error
    except exc.FailOnRecompileLimitHit as error:
        raise PlannerError(
            f"the model was called with more than {_MOST_SHAPES} sets of shapes; expected few, "
            "since each is planned; pad the batches to some lengths"
        ) from error


def _logging_functions() -> set[Callable[..., Any]]:
    """Return the functions of loggers that write a line, also those that libraries added so far."""
    names = [name for name in dir(logging.Logger) if name.startswith(_LOGS)]
    return {getattr(logging.Logger, name) for name in names}


def _refusal(error: exc.Unsupported | exc.UserError) -> str:
    frames = list(getattr(error, "real_stack", None) or ())
    place = "the model"
    if frames:
        last = frames[-1]
        place = f"{last.filename.rpartition('/')[2]}:{last.lineno} ({(last.line or '').strip()})"
    why = (str(error).strip().splitlines() or ["no message"])[0]
    if isinstance(error, exc.UserError) and "data-dependent" in why:
        why = "its control flow, or a number in it, depends on values"
    return (
        f"{place}: {why}; expected a model that is one graph of tensor ops; move that line out of "
        "the model's forward, or give mechanism='checkpoint', which compiles nothing"
    )
