"""What the CPU's kernels return where PyTorch's rules for fake and meta tensors say otherwise.

The rules give shapes and dtypes without running a kernel. A few differ from the kernel in dtype, in
the size of the buffer that holds a result, or in how many elements a sparse tensor has. Each was
found by tracking storages. `corrected(name, args, out)` gives a fake result the kernel's form.

Bound: kernels of other devices are not described, so results on other devices are left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

Args = tuple[Any, ...]
PAGE_BYTES = 4096


def _in_buffer_of(result: torch.Tensor, elements: int) -> torch.Tensor:
    """Return a result that lies in a buffer of so many elements of its dtype, if that is larger."""
    if elements <= result.numel():
        return result
    return result.new_empty(elements).as_strided(result.shape, result.stride())


def _reduced_loss(args: Args, out: torch.Tensor) -> torch.Tensor:
    """Return the sum of a loss in the buffer that held one loss for each element."""
    if out.dim():
        return out
    shape = torch.broadcast_shapes(args[0].shape, args[1].shape)  # type: ignore[no-untyped-call]
    return _in_buffer_of(out, math.prod(shape))


def _resized_from_input(args: Args, out: torch.Tensor) -> torch.Tensor:
    """Return a result whose buffer was first made as large as the input and never shrinks."""
    return _in_buffer_of(out, args[0].numel())


def _embedding_bag(args: Args, out: Any) -> Any:
    """Return the bag of each index in a buffer that has room for one more, where it is computed."""
    indices, bags = args[1].numel(), out[1]
    if not indices or bags.numel() != indices:
        return out
    return (out[0], _in_buffer_of(bags, indices + 1), *out[2:])


def _is_mixed(x: torch.Tensor, *parameters: torch.Tensor | None) -> bool:
    """Return whether a norm of reduced precision has parameters of full precision."""
    full = any(one is not None and one.dtype == torch.float32 for one in parameters)
    return full and x.dtype in (torch.bfloat16, torch.float16)


def _with_statistics(out: Any) -> Any:
    """Return a norm's results with mean and 1/deviation in full precision."""
    return (out[0], *(one.to(torch.float32) for one in out[1:3]), *out[3:])


def _layer_norm(args: Args, out: Any) -> Any:
    return _with_statistics(out) if _is_mixed(args[0], *args[2:4]) else out


def _group_norm(args: Args, out: Any) -> Any:
    return _with_statistics(out) if _is_mixed(*args[:3]) else out


def _batch_norm(args: Args, out: Any) -> Any:
    parameters = [one for one in args[1:5] if isinstance(one, torch.Tensor)]
    return _with_statistics(out) if _is_mixed(args[0], *parameters) else out


def _group_norm_backward(args: Args, out: Any) -> Any:
    """Return the gradient of the input in the input's dtype."""
    return out if out[0] is None else (out[0].to(args[1].dtype), *out[1:])


def _batch_norm_backward(args: Args, out: Any) -> Any:
    """Return the gradients that the mask asks for; PyTorch's rule gives the input's in any case."""
    mask = args[9]
    return tuple(one if wanted else None for one, wanted in zip(out, mask, strict=True))


def _lstm(args: Args, out: Any) -> Any:
    """Return oneDNN's LSTM with the workspace that it keeps for backward; none without gradients.

    It holds gates, cell outputs, three sequences of states as wide as the wider of input and
    hidden state, and two of cell states, each from a new page on (oneDNN 3, `set_conf`,
    `set_workspace_sizes` and `set_offsets` of src/cpu/rnn/rnn_utils). Bound: float32.
    """
    x, hidden = args[0], args[10]
    if not torch.is_grad_enabled():
        return (*out[:3], None)
    if x.dtype != torch.float32:
        return out
    (steps, batch), width = x.shape[:2], max(x.shape[-1], hidden)
    states = 2 * (steps + 1) * batch
    elements = (
        steps * batch * _padded(4 * hidden),
        steps * batch * _padded(hidden),
        *(3 * [states * _padded(width)]),
        *(2 * [states * hidden]),
    )
    nbytes = sum(_up(4 * count, PAGE_BYTES) for count in elements)
    return (*out[:3], out[3].new_empty(nbytes))


def _lstm_backward(args: Args, out: Any) -> Any:
    """Return the gradients of an LSTM, those of its two biases in a buffer each."""
    return (*out[:4], out[4].clone(), *out[5:])


def _padded(width: int) -> int:
    """Return the length of oneDNN's rows: whole cache lines, of a number that avoids aliasing."""
    length = _up(width, 16)
    return length if length % 256 else length + 16


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def _sparse_copy(args: Args, out: torch.Tensor) -> torch.Tensor:
    """Return a sparse result with as many elements as the argument has, or the arguments together.

    Elements at equal places stay apart.
    """
    if out.layout is not torch.sparse_coo:
        return out
    given = [one for one in args[:2] if isinstance(one, torch.Tensor)]
    if not all(one.layout is torch.sparse_coo for one in given):
        return out
    count, sparse_dim = sum(one._nnz() for one in given), out.sparse_dim()
    parts = given[0]
    indices = parts._indices().new_empty((sparse_dim, count))
    values = parts._values().new_empty((count, *out.shape[sparse_dim:]), dtype=out.dtype)
    made: torch.Tensor = torch.ops.aten._sparse_coo_tensor_with_dims_and_tensors(
        sparse_dim,
        out.dense_dim(),
        out.shape,
        indices,
        values,
        dtype=out.dtype,
        layout=torch.sparse_coo,
        device=out.device,
        is_coalesced=False,
    )
    return made


CORRECTIONS: dict[str, Callable[[Args, Any], Any]] = {
    **dict.fromkeys(
        (
            "aten::mse_loss",
            "aten::smooth_l1_loss",
            "aten::binary_cross_entropy",
            "aten::soft_margin_loss",
        ),
        _reduced_loss,
    ),
    **dict.fromkeys(("aten::im2col", "aten::col2im"), _resized_from_input),
    **dict.fromkeys(("aten::_embedding_bag", "aten::_embedding_bag_forward_only"), _embedding_bag),
    "aten::mkldnn_rnn_layer": _lstm,
    "aten::mkldnn_rnn_layer_backward": _lstm_backward,
    "aten::native_layer_norm": _layer_norm,
    "aten::native_group_norm": _group_norm,
    **dict.fromkeys(("aten::native_batch_norm", "aten::_native_batch_norm_legit"), _batch_norm),
    "aten::native_group_norm_backward": _group_norm_backward,
    "aten::native_batch_norm_backward": _batch_norm_backward,
    **dict.fromkeys(
        (
            *("aten::clone", "aten::add", "aten::sub"),
            *("aten::transpose", "aten::t", "aten::permute", "aten::unsqueeze"),
        ),
        _sparse_copy,
    ),
}
"""By the schema's name, how a fake result is given the form of the CPU kernel's."""


def corrected(name: str, args: Args, out: Any) -> Any:
    """Return a fake or meta result of an op as the CPU's kernel would make it."""
    first = out[0] if isinstance(out, tuple | list) and out else out
    correction = CORRECTIONS.get(name)
    on_cpu = isinstance(first, torch.Tensor) and first.device.type in ("cpu", "meta")
    return out if correction is None or not on_cpu else correction(args, out)
