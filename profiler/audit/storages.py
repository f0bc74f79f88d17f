"""A tracker of PyTorch's live storages: a check of the ledger, every spec and every shared buffer.

While the executor runs, a dispatch mode looks at the storage of every tensor that any of PyTorch's
ops reads or returns, and holds a weak reference with a callback on each, so it sees every birth and
death of memory. Ops that PyTorch composes of others are taken apart, so that their temporaries are
seen too. The storages of the given values are caller-owned and do not count.

It does not see what a C++ kernel allocates within itself, nor memory that Python numbers take: the
ledger says eight bytes for one, and these are left out here on both sides.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autodiff.check import check_schedule
from autodiff.executable import Executable
from autodiff.liveness import Lifetimes
from autodiff.program import Program
from autodiff.recording import recording_from_specs
from autodiff.schedule import Schedule
from autodiff.spec import (
    CONTIGUOUS,
    DENSE,
    EXPANDED,
    EXPANDED_DENSE,
    STRIDED,
    TURNED,
    Spec,
    spec_of,
)
from profiler.audit.report import AuditReport


class StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, tracks the bytes of all storages that are alive and not given.

    `live_bytes` is their total now, `peak_bytes` the greatest total since `mark()`, `births` how
    many there were.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: hiding a mode from the compiler imports it, 2 s for each process."""
        return False

    def __init__(self, given: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self.births = 0
        self._given = {tensor.untyped_storage()._cdata: -1 - at for at, tensor in enumerate(given)}
        self._alive: dict[int, tuple[weakref.ref[Any], int, int]] = {}

    def mark(self) -> None:
        """Let the peak begin anew from what is alive now."""
        self.peak_bytes = self.live_bytes

    def identity(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's storage, in order of birth; a given one is below zero."""
        key = self._look(tensor)
        return self._given[key] if key in self._given else self._alive[key][1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Where the CPU has a kernel of its own, it does not run the composition (silu_backward).
        if not torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CPU"):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        # A tensor that an op reads and none returned was made out of sight, and takes memory too.
        self._look_at_all((args, kwargs))
        result = func(*args, **kwargs)
        self._look_at_all((args, kwargs, result))
        return result

    def _look_at_all(self, tree: Any) -> None:
        for leaf in tree_leaves(tree):
            if isinstance(leaf, torch.Tensor):
                self._look(leaf)

    def _look(self, tensor: torch.Tensor) -> int:
        """Note the birth or the growth of a tensor's storage; return its key while it lives."""
        storage = tensor.untyped_storage()
        key: int = storage._cdata
        if key in self._given:
            return key
        nbytes = storage.nbytes()
        known = self._alive.get(key)
        if known is None:
            self._alive[key] = weakref.ref(storage, lambda _: self._died(key)), self.births, nbytes
            self.births += 1
            self.live_bytes += nbytes
        elif known[2] != nbytes:
            self._alive[key] = known[0], known[1], nbytes
            self.live_bytes += nbytes - known[2]
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        return key

    def _died(self, key: int) -> None:
        self.live_bytes -= self._alive.pop(key)[2]


def audit_storages(
    program: Program, schedule: Schedule, given: Mapping[int, Any] | None = None
) -> AuditReport:
    """Execute a program and compare the storages with the ledger after every event.

    After each step's results exist, and again after its dead are dropped, the bytes alive must be
    the ledger's; while a step runs, at most its `workspace` more. Each value must have the shape,
    dtype and layout of its spec, and live in the buffer that its `Value` names. Raises
    ScheduleError where the schedule is illegal.
    """
    lives = check_schedule(program, schedule)
    held = {
        value: program.values[value].source.value
        if given is None or value not in given
        else given[value]
        for value in program.given
    }
    tensors = {value: tensor for value, tensor in held.items() if isinstance(tensor, torch.Tensor)}
    tracker = StorageTracker(tensors.values())
    auditor = _Auditor(program, schedule, lives, tracker, tensors)
    executable = Executable(program, schedule, watch=auditor.watch)
    with tracker:
        results, recording = executable.run(held)
    auditor.expect(auditor.at_end, "at the end")
    if not np.array_equal(recording.sizes, recording_from_specs(program, schedule, lives).sizes):
        auditor.note("the bytes that the execution noted are not those of the specs")
    del results
    auditor.expect(0, "after the results are let go")
    return AuditReport("storages", auditor.events, auditor.first_mismatch)


class _Auditor:
    """Compares, event by event, what is tracked with what liveness says.

    It keeps the first difference in words.
    """

    def __init__(
        self,
        program: Program,
        schedule: Schedule,
        lives: Lifetimes,
        tracker: StorageTracker,
        given: Mapping[int, torch.Tensor],
    ) -> None:
        self.events = 0
        self.first_mismatch: str | None = None
        self._program = program
        self._order: list[int] = schedule.order.tolist()
        self._overwrites = schedule.overwrites
        self._tracker = tracker
        self._storage_of = {value: tracker.identity(tensor) for value, tensor in given.items()}
        self._exact = {
            value: _actual_layout(tensor) == program.values[value].spec.layout
            for value, tensor in given.items()
        }
        sizes = recording_from_specs(program, schedule, lives).sizes
        tensor_like = [
            isinstance(program.values[owner].spec.dtype, torch.dtype)
            for owner in lives.owner.tolist()
        ]
        sizes = sizes * np.array(tensor_like, dtype=np.int64)
        self.at_end = int(sizes[lives.alive_at_end].sum())
        steps = len(self._order)
        dying = np.zeros(steps + 1, np.int64)
        np.add.at(dying, lives.dies, sizes)
        taken_over = np.zeros(steps + 1, np.int64)
        np.add.at(taken_over, lives.born[lives.inherits] - 1, sizes[lives.inherits])
        self._after = lives.live(sizes)
        self._dropped = self._after - dying[:steps] + taken_over[:steps]
        self._births = tracker.births

    def watch(self, at: int, what: str, results: Sequence[Any]) -> None:
        """Check an event of the executor."""
        where = f"step {at}, {self._label(at)}"
        if what == "dropped":
            self.expect(int(self._dropped[at]), f"{where}, its dead dropped")
            self._births = self._tracker.births
            self._tracker.mark()
            return
        ledger = int(self._after[at])
        op, reads, writes, _ = self._program.instructions[self._order[at]]
        seen = self._tracker.peak_bytes - ledger
        self.expect(ledger, where)
        declared = op.workspace(*(self._program.values[read].spec for read in reads))
        exact = all(self._exact.get(read, True) for read in reads)
        if seen > declared or (exact and seen != declared):
            self.note(f"{where}: {declared} bytes of workspace are declared, {seen} are tracked")
        for write, result in zip(writes, results, strict=True):
            self._check_value(at, write, result, f"{where}, value {self._program.label(write)}")

    def expect(self, ledger: int, where: str) -> None:
        """Compare the bytes alive."""
        self.events += 1
        if self._tracker.live_bytes != ledger:
            self.note(
                f"{where}: the ledger holds {ledger} bytes, {self._tracker.live_bytes} are tracked"
            )

    def note(self, mismatch: str) -> None:
        """Keep a mismatch, if it is the first."""
        self.first_mismatch = self.first_mismatch or mismatch

    def _label(self, at: int) -> str:
        instruction = self._program.instructions[self._order[at]]
        return f"{type(instruction.op).__name__} {self._program.label(instruction.writes[0])}"

    def _check_value(self, at: int, value: int, result: Any, where: str) -> None:
        spec, root, _, _ = self._program.values[value]
        actual = spec_of(result)
        if actual is None or (actual.shape, actual.dtype) != (spec.shape, spec.dtype):
            self.note(f"{where}: declared {spec}, computed {actual or type(result).__name__}")
            return
        if not isinstance(result, torch.Tensor):
            return
        layout = _actual_layout(result)
        self._exact[value] = layout == spec.layout
        whole_view = root != value and self._program.values[root].spec.numel == spec.numel
        if not _layout_fits(spec, layout, whole_view):
            self.note(f"{where}: declared {spec.layout}, computed {layout}")
        if root == value and result.untyped_storage().nbytes() != spec.nbytes:
            self.note(
                f"{where}: declared {spec.nbytes} bytes, its storage has "
                f"{result.untyped_storage().nbytes()}"
            )
        storage = self._tracker.identity(result)
        expected = self._expected_storage(at, value)
        if storage < self._births if expected is None else storage != expected:
            declared = f"of {self._program.label(root)}" if root != value else "of its own"
            self.note(f"{where}: declared in a buffer {declared}, computed in another")
        self._storage_of[value] = storage

    def _expected_storage(self, at: int, value: int) -> int | None:
        """Return the storage in which a value should live; None where that is a new one."""
        _, reads, _, _ = self._program.instructions[self._order[at]]
        if at in self._overwrites:
            return self._storage_of[reads[self._overwrites[at]]]
        root = self._program.values[value].buffer
        if root == value:
            return None
        return next(
            self._storage_of[read]
            for read in (*reads, root)
            if self._program.values[read].buffer == root
        )


_ORDER = (CONTIGUOUS, DENSE, STRIDED, TURNED, EXPANDED, EXPANDED_DENSE)


def _actual_layout(tensor: torch.Tensor) -> str:
    spec = spec_of(tensor)
    assert spec is not None
    return spec.layout


def _layout_fits(spec: Spec, actual: str, whole_view: bool) -> bool:
    """Return whether a layout is the declared one, or a simpler one.

    It may be simpler because a dimension is 0 or 1, or a slice takes all that there is.
    """
    if actual == spec.layout:
        return True
    if {actual, spec.layout} == {DENSE, TURNED} and len(spec.shape) > 2:
        return True  # which axis a slice has to cut to leave no gaps is not declared
    degenerate = min(spec.shape, default=0) < 2 or len(spec.shape) < 2 or whole_view
    return degenerate and _ORDER.index(actual) < _ORDER.index(spec.layout)
