"""The model of PyTorch's caching allocator: its rules one by one, and a slower model of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from profiler import profile_step
from profiler.pytorch.allocator import MIB, Reserved, reserved, segment_bytes
from profiler.pytorch.cuda import CUBLAS_WORKSPACE_BYTES


def kept(*sizes: int) -> Reserved:
    """Return what is reserved for buffers that all live at once."""
    return reserved(sizes, [], [], [])


@pytest.mark.parametrize(
    ("nbytes", "segment"),
    [
        (512, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 512, 12 * MIB),
    ],
)
def test_segments(nbytes: int, segment: int) -> None:
    """A request for which nothing is free takes a segment by its size."""
    assert segment_bytes(nbytes) == segment == kept(nbytes).reserved_bytes


@pytest.mark.parametrize(
    ("sizes", "allocated", "segments"),
    [
        ((1,), 512, 2 * MIB),
        ((0,), 0, 0),
        ((MIB, MIB), 2 * MIB, 2 * MIB),
        ((MIB, MIB, 1), 2 * MIB + 512, 4 * MIB),
        ((9 * MIB, 9 * MIB, 2 * MIB), 20 * MIB, 20 * MIB),
        # One MiB or less is no block of its own in the large pool: the request takes it too.
        ((19 * MIB // 2, 19 * MIB // 2, 3 * MIB // 2), 20 * MIB + 3 * MIB // 2, 40 * MIB),
        ((11 * MIB,), 12 * MIB, 12 * MIB),
        # Small requests do not take what is free for large ones.
        ((2 * MIB, 1), 2 * MIB + 512, 22 * MIB),
    ],
)
def test_blocks_are_split(sizes: tuple[int, ...], allocated: int, segments: int) -> None:
    """Requests share a segment as long as what is left of it is a block."""
    assert kept(*sizes) == Reserved(allocated, segments)


def test_freed_blocks_join_and_the_least_that_fits_is_taken() -> None:
    """Three neighbours that are free serve one request; a hole of the right size goes first."""
    third = 6 * MIB
    # Three blocks of a segment are freed; with the rest, 20 MiB are in one piece again.
    assert reserved([], [third] * 3 + [19 * MIB], [0, 0, 0, 2], [1, 1, 1, 3]).reserved_bytes == (
        20 * MIB
    )
    # While one of them lives, there is no piece of 19 MiB.
    assert reserved([], [third] * 3 + [19 * MIB], [0, 0, 0, 2], [1, 3, 1, 3]).reserved_bytes == (
        40 * MIB
    )
    # Holes of 6 and of 8 MiB: 6 goes into the first, so that 8 still fits.
    sizes = [6, 2, 8, 4, 6, 8]
    found = reserved([], [n * MIB for n in sizes], [0, 0, 0, 0, 2, 2], [1, 9, 1, 9, 9, 9])
    assert found.reserved_bytes == 20 * MIB


def slow(sizes: list[int], born: list[int], dies: list[int]) -> Reserved:
    """Return the same by bytes of segments that are looked through from the start."""
    segments: list[tuple[bool, list[list[int]]]] = []
    allocated = most = 0
    owner: dict[int, tuple[int, int]] = {}

    def take(buffer: int, size: int) -> None:
        nonlocal allocated, most
        small = size <= MIB
        holes = [
            (part[0], s, p)
            for s, (kind, parts) in enumerate(segments)
            for p, part in enumerate(parts)
            if part[1] < 0 and part[0] >= size and kind == small
        ]
        if not holes:
            segments.append((small, [[segment_bytes(size), -1]]))
            holes = [(0, len(segments) - 1, 0)]
        _, s, p = min(holes)
        parts = segments[s][1]
        left = parts[p][0] - size
        if left >= 512 if small else left > MIB:
            parts[p : p + 1] = [[size, buffer], [left, -1]]
        else:
            parts[p][1] = buffer
        allocated += parts[p][0]
        most = max(most, allocated)
        owner[buffer] = (s, parts[p][0])

    def free(buffer: int) -> None:
        nonlocal allocated
        s, size = owner.pop(buffer)
        allocated -= size
        parts = segments[s][1]
        joined: list[list[int]] = []
        for length, who in parts:
            who = -1 if who == buffer else who
            if joined and who < 0 and joined[-1][1] < 0:
                joined[-1][0] += length
            else:
                joined.append([length, who])
        parts[:] = joined

    for step in range(max(dies, default=0) + 1):
        for buffer, size in enumerate(sizes):
            if born[buffer] == step:
                take(buffer, -(-size // 512) * 512)
        for buffer in range(len(sizes)):
            if dies[buffer] == step:
                free(buffer)
    return Reserved(most, sum(part[0] for _, parts in segments for part in parts))


buffers = st.tuples(
    st.one_of(st.integers(1, 3 * MIB), st.integers(1, 30 * MIB), st.just(MIB)),
    st.integers(0, 12),
    st.integers(0, 8),
)


@given(st.lists(buffers, max_size=40))
def test_a_slower_allocator_reserves_the_same(lives: list[tuple[int, int, int]]) -> None:
    """Whatever comes and goes, a model without lists of free blocks agrees."""
    lives.sort(key=lambda one: one[1])
    sizes, born = [one[0] for one in lives], [one[1] for one in lives]
    dies = [one[1] + one[2] for one in lives]
    found = reserved([], sizes, born, dies)
    assert found == slow(sizes, born, dies)
    assert found.reserved_bytes >= found.allocated_bytes
    assert found.reserved_bytes % (2 * MIB) == 0


def test_a_step_on_a_card_reserves_segments() -> None:
    """Weight, input and one workspace of cuBLAS fill a segment of 20 MiB but for 3.9 MiB; the other
    workspace begins a second one, which has room for the result and the weight's gradient, 4 MiB
    each. What is small is in a segment of 2 MiB.
    """
    with FakeTensorMode():
        layer, x = torch.nn.Linear(1024, 1024), torch.randn(1024, 1024)
        found = profile_step(lambda: layer(x).sum().backward(), model=layer, device="cuda")
        assert profile_step(lambda: layer(x), model=layer).reserved_bytes is None
    assert 2 * 4 * MIB + CUBLAS_WORKSPACE_BYTES > 16 * MIB
    assert found.reserved_bytes == 2 * 20 * MIB + 2 * MIB


BATCH, HEADS, LENGTH, WIDTH, LAYERS = 2, 4, 128, 64, 2


class Block(torch.nn.Module):
    """Causal attention with dropout, as in a GPT."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's result."""
        split = self.qkv(x).view(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        attend = torch.nn.functional.scaled_dot_product_attention
        made = attend(q, k, v, dropout_p=0.1, is_causal=True)
        return x + self.out(made.transpose(1, 2).reshape(x.shape))


def kept_for_backward(**given: str) -> int:
    """Return the bytes that live on after the forward pass."""
    with FakeTensorMode():
        model = torch.nn.Sequential(*(Block() for _ in range(LAYERS)))
        x = torch.randn(BATCH, LENGTH, WIDTH)
        return profile_step(lambda: model(x), model=model, **given).live_after_bytes


def test_what_a_fused_kernel_does_not_keep_with_dropout() -> None:
    """The math kernel keeps the softmax, what dropout leaves of it, and the mask: of one byte an
    element on a card, of a number on the CPU. A fused kernel keeps a logarithm for each row, and
    the state of the generator in two blocks.
    """
    rows = BATCH * HEADS * LENGTH
    by_math = kept_for_backward(device="cuda", attention="math")
    fused = kept_for_backward(device="cuda")
    assert by_math - fused == LAYERS * (rows * LENGTH * (4 + 4 + 1) - rows * 4 - 2 * 512)
    assert kept_for_backward() - by_math == LAYERS * rows * LENGTH * (4 - 1)
