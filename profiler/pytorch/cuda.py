"""A step on fake tensors as a CUDA card would run it, without a card.

Fake tensors stand for the CPU's: a build of PyTorch without CUDA cannot take derivatives of
others. So what a card does differently is put in the place of the CPU's way while a step is
predicted: the kernels of attention, `dropout` (which keeps a mask of one byte an element), what
autocast computes in float32, and what the allocator hands out and reserves (`allocator`).

Sources in PyTorch: `attention.cpp` and `Dropout.cpp` in ATen/native, `autocast_mode.h`,
`CublasHandlePool.cpp`; cuBLASLt uses the workspace of cuBLAS (`torch.backends.cuda`).

Bound: none of this was compared with a card. Not predicted are the workspaces of cuDNN, by which
convolutions run, and the CUDA context (some hundred MiB, outside of the allocator).
In autocast a cast before a softmax is an op of its own here and part of the kernel on a card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from autodiff.errors import GraphError
from autodiff.instructions import BACKWARD, RECOMPUTE
from profiler.pytorch.attention import KERNELS, Attention, attend, kernel_of

CUBLAS_WORKSPACE_BYTES = 2 * 4096 * 1024 + 8 * 16 * 1024
"""What cuBLAS takes in each thread that multiplies matrices: the forward pass's, and backward's."""

CUBLAS_WORKSPACE_BYTES_OF_HOPPER = 8 * 4096 * 1024
"""The same on cards of compute capability 9 and later; not part of a prediction."""

WORKSPACE = "workspace"
"""The role, in `Profile.given_bytes`, of what libraries keep for themselves."""

_BY_CUBLAS = frozenset(("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "addr", "dot", "vdot"))
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
_IN_FLOAT32 = (
    *("acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log1p", "log2"),
    *("reciprocal", "rsqrt", "sinh", "softplus", "tan", "layer_norm", "group_norm", "logsumexp"),
    *("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "cosine_similarity", "cdist"),
)
"""Ops that autocast runs in float32 on a card, and in the type that they find on the CPU."""

_OF_FLOAT32 = ("softmax.int", "log_softmax.int", "cumsum", "cumprod", "sum", "sum.dim_IntList")
"""Ops that autocast asks for a result in float32 on a card."""


def workspaces(ops: Iterable[tuple[str, str]]) -> list[int]:
    """Return the bytes that cuBLAS keeps for a step in each thread that multiplies matrices.

    `ops` are the names and phases of the step's ops. Backward and recomputation run in a thread of
    their own.
    """
    threads = {phase in (BACKWARD, RECOMPUTE) for name, phase in ops if name in _BY_CUBLAS}
    return [CUBLAS_WORKSPACE_BYTES] * len(threads)


@contextmanager
def as_on_cuda(attention: str | None = None) -> Iterator[dict[Any, Callable[..., Any]]]:
    """Let ops on fake tensors of the CPU run as on a card; `attention` forces a kernel.

    Gives what takes the place of ops in inference mode, which does not ask for derivatives and so
    passes by them: a `Recorder` puts it there. It holds in all threads. Raises GraphError for a
    kernel that there is none of.
    """
    if attention is not None and attention not in KERNELS:
        raise GraphError(
            f"attention={attention!r}; expected one of {', '.join(KERNELS)}, or none to take the "
            "one that a card would"
        )
    aten = torch.ops.aten
    composites: dict[Any, Callable[..., Any]] = {
        aten.scaled_dot_product_attention.default: _attention(attention),
        aten.dropout.default: _dropout,
    }
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    try:
        for op, run in composites.items():
            library.impl(op._schema.name.removeprefix("aten::"), run, "AutogradCPU")
        for name in (*_IN_FLOAT32, *_OF_FLOAT32):
            if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "AutocastCPU"):
                op = _overload(name)
                kernel = _cast(op) if name in _IN_FLOAT32 else _asked(op)
                library.impl(name, kernel, "AutocastCPU")
        yield composites
    finally:
        library._destroy()


def _attention(forced: str | None) -> Callable[..., torch.Tensor]:
    def run(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        call = Attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
        return attend(call, kernel_of(call, forced))

    return run


def _dropout(x: torch.Tensor, p: float, train: bool) -> torch.Tensor:
    """Return x with elements dropped, by the op that keeps which."""
    if not train or p == 0 or not x.numel():
        return x
    return torch.ops.aten.native_dropout(x, p, train)[0]  # type: ignore[no-any-return]


def _overload(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)


def _cast(op: Any) -> Callable[..., Any]:
    """Return an op that casts its arguments of 16 bits to float32."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_CPU):
            args, kwargs = pytree.tree_map(
                lambda one: one.to(torch.float32) if _is_half(one) else one, (args, kwargs)
            )
            return op(*args, **kwargs)

    return run


def _asked(op: Any) -> Callable[..., Any]:
    """Return an op that gives float32 of 16 bits, unless another dtype is asked for."""
    place = next(
        (
            i
            for i, one in enumerate(op._schema.arguments)
            if one.name == "dtype" and not one.kwarg_only
        ),
        None,
    )

    def run(*args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("dtype") if place is None or len(args) <= place else args[place]
        if given is None and _is_half(args[0]):
            kwargs["dtype"] = torch.float32
            args = args if place is None else args[:place]
        with torch._C._ExcludeDispatchKeyGuard(_CPU):
            return op(*args, **kwargs)

    return run
