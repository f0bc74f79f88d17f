"""The forms of results on fake tensors, and results made again by them, without PyTorch's rules.

Names beginning with an underscore that are read here: the making of a subclass and what refuses to
show its data, which PyTorch's own fake tensors use.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

_STRIDED, _META = torch.strided, torch.device("meta")
_without_dispatch: Any = torch._C._DisableTorchDispatch
_empty: Any = torch.empty_strided
_subclass: Any = torch.Tensor._make_subclass
_refusing_data: Any = torch._C._set_throw_on_mutable_data_ptr
_warning_of_data: Any = torch._C._set_warn_deprecated_on_mutable_data_ptr


class Form(NamedTuple):
    """The form of a result: how to make it again.

    `argument` is the place of the argument that it is (`is_view` false) or of which it is a view;
    −1 for a result with a storage of its own. `state` has the attributes of a fake tensor, without
    its mode.
    """

    argument: int
    is_view: bool
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    state: dict[str, Any]


class Recipe(NamedTuple):
    """The forms of an op's results, None for one that is None; `kind` is their container's type."""

    kind: type | None
    forms: tuple[Form | None, ...]


def recipe_of(
    out: Any, args: tuple[Any, ...], kwargs: dict[str, Any], mode: FakeTensorMode
) -> Recipe | None:
    """Return how results are made again, None where what would be made is not the same.

    A rule may give one tensor twice, as that of an LSTM's gradients does for its biases. Kernels do
    not, where their schema has no alias, so two are made.
    """
    kind = type(out) if isinstance(out, (list, tuple)) else None
    if kind not in (None, list, tuple):
        return None
    results = [out] if kind is None else out
    forms = [None if one is None else _form_of(one, args, mode) for one in results]
    if any(form is None and one is not None for one, form in zip(results, forms, strict=True)):
        return None
    own = {
        id(one): one.untyped_storage()._cdata
        for one, form in zip(results, forms, strict=True)
        if form is not None and form.argument < 0
    }
    given = pytree.tree_leaves((args, kwargs))
    shared = {one.untyped_storage()._cdata for one in given if isinstance(one, torch.Tensor)}
    if len(set(own.values())) < len(own) or not shared.isdisjoint(own.values()):
        return None
    return Recipe(kind, tuple(forms))


def made_again(recipe: Recipe, args: tuple[Any, ...], mode: FakeTensorMode) -> Any:
    """Return the results of a call whose arguments have the forms that a recipe is for."""
    kind, forms = recipe
    if kind is None:
        form = forms[0]
        return None if form is None else _made(form, args, mode)
    return kind([None if form is None else _made(form, args, mode) for form in forms])


def _form_of(one: Any, args: tuple[Any, ...], mode: FakeTensorMode) -> Form | None:
    """Return the form of a result, None where one made of it would not be the same."""
    if type(one) is not FakeTensor or one.constant is not None or one.fake_mode is not mode:
        return None
    argument = next((i for i, given in enumerate(args) if given is one), -1)
    if one.layout is not _STRIDED or (one.requires_grad and argument < 0):
        return None
    storage, is_view = one.untyped_storage(), False
    if argument < 0:
        argument = _place_of(storage, args)
        is_view = argument >= 0
    state = {name: value for name, value in vars(one).items() if name != "fake_mode"}
    form = Form(
        argument,
        is_view,
        one.shape,
        one.stride(),
        int(one.storage_offset()),
        one.dtype,
        one.fake_device,
        state,
    )
    again = _made(form, args, mode)
    is_same = (
        torch._C._dispatch_key_set(again) == torch._C._dispatch_key_set(one)
        and again.untyped_storage().nbytes() == storage.nbytes()
        and again.storage_offset() == form.offset
    )
    return form if is_same else None


def _place_of(storage: torch.UntypedStorage, args: tuple[Any, ...]) -> int:
    """Return the place of the argument whose storage that is, or −1."""
    for i, given in enumerate(args):
        if type(given) is FakeTensor and given.untyped_storage()._cdata == storage._cdata:
            return i
    return -1


def _made(form: Form, args: tuple[Any, ...], mode: FakeTensorMode) -> Any:
    """Return a result of a form."""
    argument, is_view, shape, stride, offset, dtype, device, state = form
    if argument >= 0 and not is_view:
        return args[argument]
    with _without_dispatch():
        if is_view:
            bytes_of = args[argument].untyped_storage()
            like = _empty((0,), (1,), dtype=dtype, device=_META)
            like.set_(bytes_of, offset, shape, stride)
        else:
            like = _empty(shape, stride, dtype=dtype, device=_META)
        made = _subclass(
            FakeTensor, like, False, dispatch_device=True, device_for_backend_keys=device
        )
    (_warning_of_data if mode._allow_unsafe_data_ptr_access else _refusing_data)(made)
    attributes = vars(made)
    attributes.update(state)
    attributes["fake_mode"] = mode
    return made
