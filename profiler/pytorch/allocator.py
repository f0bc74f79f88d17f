"""What PyTorch's caching allocator reserves on a CUDA card for buffers that come and go.

A request is rounded to blocks of 512 bytes and takes the smallest free block of its pool that holds
it: small requests (up to 1 MiB) have a pool of their own. Where there is none, a segment is asked
of the card: 2 MiB for small requests, 20 MiB for those below 10 MiB, for larger ones their size in
multiples of 2 MiB. What is left of a block is split off where a request can use it: at least 512
bytes in the small pool, more than 1 MiB in the large one. A freed block joins free neighbours.

Source: `round_size`, `get_free_block`, `get_allocation_size`, `should_split` and `free_block` of
PyTorch's c10/cuda/CUDACachingAllocator.cpp, with the settings that it has by default.

Bound: never compared with a card. One stream, one pass over the buffers in order, starting with
nothing reserved; nothing is given back to the card, as when memory suffices. Segments are taken to
lie at ascending addresses.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MIB = 1 << 20
BLOCK_BYTES = 512
SMALL_BYTES = MIB
SMALL_SEGMENT_BYTES = 2 * MIB
LARGE_SEGMENT_BYTES = 20 * MIB
LEAST_OF_ITS_OWN_BYTES = 10 * MIB
"""From this size on a request for which no block is free gets a segment of its own."""

SEGMENT_ROUNDING_BYTES = 2 * MIB

_BEGINS, _ENDS = 0, 1
"""Within a step results are allocated before what it needs last is freed."""


@dataclass(frozen=True)
class Reserved:
    """The peaks of the bytes in blocks that are taken, and of those in segments of the card."""

    allocated_bytes: int
    reserved_bytes: int


def rounded(nbytes: int) -> int:
    """Return the bytes that a request is rounded to."""
    return -(-nbytes // BLOCK_BYTES) * BLOCK_BYTES


def segment_bytes(nbytes: int) -> int:
    """Return the size of the segment that a rounded request takes where no block is free."""
    if nbytes <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if nbytes < LEAST_OF_ITS_OWN_BYTES:
        return LARGE_SEGMENT_BYTES
    return -(-nbytes // SEGMENT_ROUNDING_BYTES) * SEGMENT_ROUNDING_BYTES


def reserved(
    given: Iterable[int], sizes: Sequence[int], born: Sequence[int], dies: Sequence[int]
) -> Reserved:
    """Return what is reserved for given buffers and those that a step brings to life.

    `sizes`, `born` and `dies` are those of a ledger, in order of birth: bytes, the step that
    allocates a buffer, and the last step that needs it.
    """
    allocator = _Allocator()
    for nbytes in given:
        allocator.take(nbytes)
    spans = list(zip(born, dies, strict=True))
    events = sorted(
        event
        for buffer, (first, last) in enumerate(spans)
        for event in ((first, _BEGINS, buffer), (max(first, last), _ENDS, buffer))
    )
    blocks: dict[int, _Block | None] = {}
    for _, kind, buffer in events:
        if kind == _BEGINS:
            blocks[buffer] = allocator.take(sizes[buffer])
        elif (block := blocks.pop(buffer)) is not None:
            allocator.free(block)
    return Reserved(allocator.most_allocated, allocator.reserved)


@dataclass(eq=False)
class _Block:
    """A part of a segment, with the parts before and after it."""

    address: int
    size: int
    is_small: bool
    is_free: bool = False
    before: _Block | None = None
    after: _Block | None = None


class _Allocator:
    """Hands out blocks; `reserved` are the bytes of its segments."""

    def __init__(self) -> None:
        self.reserved = self.allocated = self.most_allocated = 0
        self._free: tuple[list[tuple[int, int]], ...] = ([], [])
        self._blocks: dict[int, _Block] = {}

    def take(self, nbytes: int) -> _Block | None:
        """Return a block for a request; None for a request of nothing."""
        if not nbytes:
            return None
        size = rounded(nbytes)
        block = self._found(size) or self._segment(size)
        left = block.size - size
        if left >= BLOCK_BYTES if block.is_small else left > SMALL_BYTES:
            self._split(block, size)
        self.allocated += block.size
        self.most_allocated = max(self.most_allocated, self.allocated)
        return block

    def free(self, block: _Block) -> None:
        """Take a block back, joined with the free blocks next to it."""
        self.allocated -= block.size
        if (after := block.after) is not None and after.is_free:
            self._forget(after)
            block.size += after.size
            self._link(block, after.after)
        if (before := block.before) is not None and before.is_free:
            self._forget(before)
            before.size += block.size
            self._link(before, block.after)
            block = before
        self._keep(block)

    def _found(self, size: int) -> _Block | None:
        pool = self._free[size <= SMALL_BYTES]
        place = bisect_left(pool, (size, 0))
        if place == len(pool):
            return None
        block = self._blocks[pool[place][1]]
        self._forget(block)
        return block

    def _segment(self, size: int) -> _Block:
        block = _Block(self.reserved, segment_bytes(size), size <= SMALL_BYTES)
        self.reserved += block.size
        return block

    def _split(self, block: _Block, size: int) -> None:
        rest = _Block(block.address + size, block.size - size, block.is_small)
        block.size = size
        self._link(rest, block.after)
        self._link(block, rest)
        self._keep(rest)

    def _link(self, block: _Block, after: _Block | None) -> None:
        block.after = after
        if after is not None:
            after.before = block

    def _keep(self, block: _Block) -> None:
        block.is_free = True
        self._blocks[block.address] = block
        insort(self._free[block.is_small], (block.size, block.address))

    def _forget(self, block: _Block) -> None:
        block.is_free = False
        pool = self._free[block.is_small]
        del pool[bisect_left(pool, (block.size, block.address))]
