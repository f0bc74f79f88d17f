"""Results of ops on fake tensors, made again where an op was called with such arguments before.

Most of the time of a step on fake tensors goes to PyTorch's rules, which work out the form of each
result anew or look it up under a key of some sixty entries. A step calls the same ops on the same
forms again and again: block after block, parameter after parameter. Here the form of a result is
remembered under a short key, which has all of the arguments that a rule may read, and the next
result of that form is made without PyTorch's fake mode.

Bound: what is remembered was made by PyTorch's rule and is compared with what would be made of it.
An op runs by its rule every time where its results depend on values or on the size of a storage,
where it changes an argument's shape, is not PyTorch's own, or has an argument that is symbolic,
sparse or carries a value. Names beginning with an underscore that are read here: the stack of
dispatch modes, and the guard that leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from profiler.pytorch.forms import Recipe, made_again, recipe_of
from profiler.pytorch.kinds import (
    IN_PLACE,
    LIFT,
    RESIZING,
    SILENT,
    Met,
    meet,
    met_before as met_really,
)

_BY_RULE = frozenset(
    (
        torch.Tag.data_dependent_output,
        torch.Tag.dynamic_output_shape,
        torch.Tag.inplace_view,
    )
)
_MOST_FORMS = 1 << 12
"""The forms of one op that are remembered; then they are forgotten and begin anew."""

_NUMBERS = (int, float, bool)
_STRIDED = torch.strided
_FAKE = torch._C._TorchDispatchModeKey.FAKE
_depth: Callable[[], int] = torch._C._len_torch_dispatch_stack
_mode_of: Callable[[Any], Any] = torch._C._get_dispatch_mode
_without_dispatch: Any = torch._C._DisableTorchDispatch
_default_dtype = torch.get_default_dtype
_in_inference = torch.is_inference_mode_enabled

Key = tuple[Any, ...]


_NOT_MET: Any = object()

_met: dict[int, Met] = {}
"""The ops met on fake tensors by their identity."""

met_before = _met.get


def meeting() -> tuple[Callable[[Any], Met], Callable[[int], Met | None]]:
    """Return how ops are met, and which were met before, under the fake mode or without one."""
    if _mode_of(_FAKE) is None:
        return meet, met_really
    return meet_on_fakes, met_before


def meet_on_fakes(func: Any) -> Met:
    """Return how an op on fake tensors is to be noted and called, and remember it."""
    met = meet(func)
    if func is torch.ops.prim.device.default:
        met = met._replace(run=_device_of)
    elif func is torch.ops.aten._local_scalar_dense.default:
        met = met._replace(run=_value_of(met.run))
    elif _may_repeat(func, met.kind):
        met = met._replace(run=_repeating(met.run))
        if met.kind == IN_PLACE and torch.Tag.nondeterministic_seeded not in func.tags:
            met = met._replace(run=_changing_constants(met.run, meet(func).run))
    _met[id(func)] = met
    return met


def _device_of(tensor: Any) -> torch.device:
    """Return the device that a tensor stands for."""
    device: torch.device = tensor.device
    return device


def _value_of(run: Any) -> Any:
    """Return a callable that reads a tensor's number, of a fake one that carries it as well."""

    def value(tensor: Any) -> Any:
        if type(tensor) is not FakeTensor or tensor.constant is None or not _is_below(tensor):
            return run(tensor)
        with _without_dispatch():
            return run(tensor.constant)

    return value


def _changing_constants(repeating: Any, run: Any) -> Any:
    """Return a callable that runs an op in place, on the number of a fake tensor that carries one.

    Such are an optimizer's counts of steps, to each of which it adds one.
    """

    def run_in_place(*args: Any, **kwargs: Any) -> Any:
        first = args[0]
        if (
            type(first) is not FakeTensor
            or first.constant is None
            or kwargs
            or not all(type(one) in _NUMBERS for one in args[1:])
            or not _is_below(first)
        ):
            return repeating(*args, **kwargs)
        with _without_dispatch():
            run(first.constant, *args[1:])
        return first

    return run_in_place


def _is_below(tensor: FakeTensor) -> bool:
    """Return whether nothing but a tensor's own fake mode would see an op on it."""
    return _depth() == 1 and _mode_of(_FAKE) is tensor.fake_mode


def _may_repeat(func: Any, kind: int) -> bool:
    """Return whether the forms of an op's results follow from those of its arguments."""
    return (
        isinstance(func, torch._ops.OpOverload)
        and func.namespace in ("aten", "prims")
        and kind not in (SILENT, LIFT, RESIZING)
        and _BY_RULE.isdisjoint(func.tags)
        and "as_strided" not in func._schema.name
    )


def _repeating(run: Any) -> Any:
    """Return a callable that runs an op, or makes its results again."""
    recipes: dict[Key, Recipe | None] = {}
    look_up = recipes.get

    def run_or_repeat(*args: Any, **kwargs: Any) -> Any:
        mode = _mode_of(_FAKE)
        key = _key(args, kwargs, mode) if mode is not None and _depth() == 1 else None
        if key is None:
            return run(*args, **kwargs)
        recipe = look_up(key, _NOT_MET)
        if recipe is None:
            return run(*args, **kwargs)
        if recipe is _NOT_MET:
            out = _by_rule(run, args, kwargs, mode)
            if len(recipes) >= _MOST_FORMS:
                recipes.clear()
            recipe = recipes[key] = recipe_of(out, args, kwargs, mode)
            if recipe is None:
                return out
        return made_again(recipe, args, mode)

    return run_or_repeat


def _by_rule(run: Any, args: tuple[Any, ...], kwargs: dict[str, Any], mode: FakeTensorMode) -> Any:
    """Run an op by PyTorch's rule, without its cache, whose key costs more than most rules."""
    mode.cache_enabled = False
    try:
        return run(*args, **kwargs)
    finally:
        mode.cache_enabled = True


def _key(args: tuple[Any, ...], kwargs: dict[str, Any], mode: FakeTensorMode) -> Key | None:
    """Return all that a rule may read of arguments; None where that is no key."""
    if mode.shape_env is not None or not mode.cache_enabled or _in_inference():
        return None
    key: list[Any] = [_default_dtype()]
    if not _add(key, args, mode):
        return None
    if kwargs:
        key.append(tuple(kwargs))
        if not _add(key, kwargs.values(), mode):
            return None
    found = tuple(key)
    try:
        hash(found)
    except TypeError:
        return None
    return found


def _add(key: list[Any], args: Any, mode: FakeTensorMode) -> bool:
    """Add to a key what a rule may read of arguments; return False where that is no key."""
    add = key.append
    for one in args:
        sort = type(one)
        if sort is FakeTensor:
            if one.constant is not None or one.fake_mode is not mode or one.layout is not _STRIDED:
                return False
            add(one.shape)
            add(one.stride())
            add(
                (
                    one.storage_offset(),
                    one.dtype,
                    one.fake_device,
                    one.requires_grad,
                    one.is_neg(),
                    one.is_conj(),
                    one.is_inference(),
                )
            )
        elif sort is list or sort is tuple:
            inner: list[Any] = [sort]
            if not _add(inner, one, mode):
                return False
            add(tuple(inner))
        elif isinstance(one, (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool)):
            return False
        else:
            add(sort)
            add(one)
    return True
