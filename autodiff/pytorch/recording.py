"""The ops of a step, seen by the dispatcher below autograd, as calls on fake tensors.

Tensors from outside (parameters, buffers, anything that the step closes over) are replaced by fakes
where an op first meets them. Autograd, which runs above, still sees the real ones; nothing is ever
written into them. Ops are recorded as the dispatcher runs them in eager mode: no op is decomposed.

Bound: what the step does without PyTorch's dispatcher (NumPy on a tensor's memory) is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from autodiff.aten.kernels import corrected
from autodiff.errors import GraphError

_aten = torch.ops.aten
_LITERALS = (_aten.lift_fresh.default, _aten.lift.default, _aten.lift_fresh_copy.default)
"""Ops through which a tensor that Python wrote down (`torch.tensor(…)`) enters a step."""


@dataclass(frozen=True)
class Call:
    """One call: its op, the arguments and the results, with fakes for tensors.

    `run` is the number of the differentiation (a call of `torch.autograd.grad`) that it belongs to,
    counted from 1; 0 outside of any.
    """

    overload: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    run: int

    @property
    def writes(self) -> bool:
        """Return whether the op writes into one of its arguments."""
        return bool(self.overload._schema.is_mutable)

    @property
    def written(self) -> Iterator[torch.Tensor]:
        """Return the tensors among its arguments that the op writes into."""
        for place, argument in enumerate(self.overload._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = (
                    self.args[place]
                    if place < len(self.args)
                    else self.kwargs.get(argument.name, None)
                )
                yield from (leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor))


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's own
    """Records the calls of a step, which run on fake tensors.

    `given` are the tensors from outside with their fakes, in the order in which they were met;
    `on_given` is called with each before any op can change it.
    """

    supports_higher_order_operators = True

    def __init__(
        self, fake_mode: FakeTensorMode, on_given: Callable[[Any], None], refuse: Callable[[], None]
    ) -> None:
        """Record on the fakes of one mode; `refuse` is called if the step calls `.backward()`."""
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's own
        self.fake_mode = fake_mode
        self.calls: list[Call] = []
        self.given: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.run = 0
        self._runs = 0
        self._on_given = on_given
        self._refuse = refuse
        self._written: set[int] = set()

    def fake_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the fake of a tensor from outside."""
        if isinstance(tensor, FakeTensor) and tensor.fake_mode is self.fake_mode:
            return tensor
        known = self.given.get(id(tensor))
        if known is None:
            self._on_given(tensor)
            known = self.given[id(tensor)] = (tensor, self._fake_like(tensor))
        return known[1]

    def _fake_like(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a fake of a tensor, which may be the fake of another mode."""
        if not isinstance(tensor, FakeTensor):
            return self.fake_mode.from_tensor(tensor)
        with self.fake_mode:
            return torch.empty_strided(
                tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device
            )

    @contextmanager
    def differentiating(self) -> Iterator[None]:
        """Count what is recorded within as one differentiation; nested ones are part of it."""
        outer = self.run
        if not outer:
            self._runs += 1
            self.run = self._runs
        try:
            yield
        finally:
            self.run = outer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one op on fakes and record it."""
        kwargs = kwargs or {}
        if not self.run and torch._C._current_autograd_node() is not None:
            self._refuse()
        if not isinstance(func, torch._ops.OpOverload):
            raise GraphError(
                f"the step calls {func}, an op with functions as arguments; expected plain ops; "
                "write it without, or profile it as it runs with profile_step"
            )
        if func in _LITERALS and not isinstance(args[0], FakeTensor):
            return self._literal(func, args[0])
        if func is _aten._local_scalar_dense.default and not isinstance(args[0], FakeTensor):
            return self._number(args[0])
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Generator):
                self._on_given(leaf)
            _refuse_sparse(func, leaf)
        args, kwargs = tree_map_only(torch.Tensor, self.fake_of, (args, kwargs))
        # A program runs with autograd's mode on, whatever it was where the step was recorded.
        with self.fake_mode, torch.enable_grad():
            result = corrected(func._schema.name, args, func(*args, **kwargs))
        for leaf in tree_leaves(result):
            _refuse_sparse(func, leaf)
        if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            call = Call(func, args, kwargs, result, self.run)
            self.calls.append(call)
            if call.writes:
                self._written.update(map(storage_key, call.written))
        return result

    def _literal(self, func: Any, real: torch.Tensor) -> torch.Tensor:
        with self.fake_mode:
            fake: torch.Tensor = func(real)
        self.given[id(real)] = (real, fake)
        return fake

    def _number(self, real: torch.Tensor) -> Any:
        """Return the number in a tensor from outside, unless the step has written into it."""
        if storage_key(self.fake_of(real)) in self._written:
            raise DataDependentOutputException(_aten._local_scalar_dense.default)
        return real.item()


class Differentiations(TorchFunctionMode):
    """Tells a recorder where a step differentiates."""

    def __init__(self, recorder: Recorder) -> None:
        """Watch the calls of one step."""
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of PyTorch's Python side."""
        kwargs = kwargs or {}
        if func is torch.autograd.grad:
            with self._recorder.differentiating():
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def _refuse_sparse(func: Any, leaf: Any) -> None:
    if isinstance(leaf, torch.Tensor) and leaf.layout is not torch.strided:
        raise GraphError(
            f"the step calls {func} on or for a tensor of layout {leaf.layout}; expected dense "
            "tensors; make it dense before, or profile the step as it runs with profile_step"
        )


def storage_key(tensor: torch.Tensor) -> int:
    """Return what tells a tensor's storage from others."""
    return tensor.untyped_storage()._cdata  # type: ignore[no-any-return]  # PyTorch does not say
