"""The calls of a recorded step, rewritten so that every value is written once.

PyTorch's functionalization puts an op that returns its result in the place of each op that writes.
Where one computes in place on elements that lie apart, the new op's result has gaps as well
(`aten.gaps`), so that it is the step's own to the last bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch._prims_common import is_non_overlapping_and_dense_or_false as is_dense
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from autodiff.aten.copies import COPIES
from autodiff.aten.gaps import WithGaps
from autodiff.aten.table import family_name
from autodiff.errors import GraphError
from autodiff.pytorch.recording import Call, Recorder, storage_key


def written_once(recorder: Recorder, results: Any) -> tuple[list[Call], Any]:
    """Return the calls and results of a recorded step with every value written once.

    Raises GraphError if the step writes into a tensor from outside that shares memory with another.
    """
    _refuse_shared_writes(recorder)
    fakes = [fake for _, fake in recorder.given.values()]
    again = Recorder(recorder.fake_mode, lambda given: None, lambda: None)

    def replay(*given: torch.Tensor) -> Any:
        now = {id(fake): one for fake, one in zip(fakes, given, strict=True)}

        def place(tensor: torch.Tensor) -> torch.Tensor:
            return now[id(tensor)]

        for call in recorder.calls:
            args, kwargs = tree_map_only(torch.Tensor, place, (call.args, call.kwargs))
            again.run = call.run
            if (op := _with_gaps(call)) is None:
                result = call.overload(*args, **kwargs)
            else:
                result = _written(again, op, args, kwargs)
            for before, after in zip(tree_leaves(call.result), tree_leaves(result), strict=True):
                if isinstance(before, torch.Tensor):
                    now[id(before)] = after
        return tree_map_only(torch.Tensor, place, results)

    with torch.no_grad(), again:
        results = torch.func.functionalize(replay)(*fakes)
    return again.calls, results


def _with_gaps(call: Call) -> WithGaps | None:
    """Return the op of a call that computes in place where elements lie apart; else None."""
    written = list(call.written)
    if len(written) != 1 or written[0] is not call.result or is_dense(written[0]):
        return None
    if family_name(call.overload._schema.name) in COPIES:
        return None
    places = [place for place, argument in enumerate(call.args) if argument is written[0]]
    return WithGaps(call.overload, places[0]) if places else None


def _written(again: Recorder, op: WithGaps, args: Any, kwargs: Any) -> torch.Tensor:
    """Record the call of an op, and return the tensor that it was to write into, written."""
    values, named = tree_map_only(torch.Tensor, _value_of, (args, kwargs))
    with temporarily_pop_interpreter_stack(), _disable_current_modes(), again.fake_mode:
        result = op(*values, **named)
    again.calls.append(Call(op, values, named, result, again.run))
    return args[op.place].copy_(result)  # type: ignore[no-any-return]


def _value_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the value that a tensor has at this point of functionalization."""
    torch._sync(tensor)  # type: ignore[attr-defined, no-untyped-call]
    value: torch.Tensor = torch._C._functorch._unwrap_functional_tensor(tensor, True)
    return value


def _refuse_shared_writes(recorder: Recorder) -> None:
    owners: dict[int, int] = {}
    for _, fake in recorder.given.values():
        owners[storage_key(fake)] = owners.get(storage_key(fake), 0) + 1
    for call in recorder.calls:
        if call.writes and any(owners.get(storage_key(tensor), 0) > 1 for tensor in call.written):
            raise GraphError(
                f"{call.overload} writes into memory that two tensors from outside the step share; "
                "expected each written tensor to have memory of its own; clone one of the two, or "
                "profile the step as it runs with profile_step"
            )
