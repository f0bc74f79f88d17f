"""Steps of nested tensors, control flow, compiled models and threads; values of fake tensors."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from functools import reduce
from operator import add
from typing import Any

import pytest
import torch
from torch import nn
from torch._higher_order_ops import scan, while_loop
from torch._higher_order_ops.map import map as map_rows
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention

from autodiff.cost import Cost
from autodiff.errors import ValuesError
from profiler import Profile, profile_step

prototype = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def nested(layout: torch.layout) -> torch.Tensor:
    """Return two sequences, of 2 and of 3 vectors of 4 numbers."""
    return torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=layout)


# Of 5 vectors through a layer of 4×4 with bias: the products, and the gradients of its parameters.
LAYER, LAYER_BACKWARD = 5 * 4 * (4 + 3 + 1), 4 * 4 * (5 + 4) + 4 * 4


def test_jagged_tensors() -> None:
    """A layer on a jagged tensor costs what it costs on the joined rows."""
    x, layer = nested(torch.jagged), nn.Linear(4, 4)
    found = profile_step(lambda: layer(x).values().sum().backward(), model=layer)
    assert found.ops_by_phase["forward"].total == LAYER + 19
    assert found.ops_by_phase["backward"].total == LAYER_BACKWARD
    assert (found.uncounted, found.live_after_bytes) == ({}, 4 * (16 + 4))
    given = profile_step(lambda one: layer(one).values().sum(), x)
    assert given.input_bytes == x.values().nbytes + x.offsets().nbytes


@prototype
def test_strided_nested_tensors() -> None:
    """So it does on a strided nested tensor, whose padding is added up in the sum."""
    x, layer = nested(torch.strided), nn.Linear(4, 4)
    found = profile_step(lambda: layer(x).to_padded_tensor(0.0).sum().backward(), model=layer)
    assert found.ops_by_phase["forward"].total == LAYER + 23
    assert found.ops_by_phase["backward"].total == LAYER_BACKWARD
    assert (found.uncounted, found.live_after_bytes) == ({}, 4 * (16 + 4))


@prototype
def test_an_encoder_with_padding() -> None:
    """Inference with a padding mask costs what each sequence costs without its padding."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
    model.eval()
    x, padding = torch.randn(3, 5, 16), torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    with torch.no_grad():
        found = profile_step(lambda: model(x, src_key_padding_mask=padding), model=model)
        alone = [profile_step(lambda one=one: model(one)) for one in (x[:1, :3], x[1:2], x[2:])]
    mask = 3 * 15  # the mask is compared, made one of numbers, and inverted
    assert found.ops == reduce(add, (one.ops for one in alone)) + Cost(comparisons=mask)
    assert found.uncounted == {}


@prototype
def test_attention_of_jagged_tensors() -> None:
    """Attention among jagged sequences costs what it costs for each of them, in training too."""
    parts = [torch.randn(length, 16) for length in (5, 3)]

    def step(x: torch.Tensor) -> torch.Tensor:
        heads = x.unflatten(-1, (2, 8)).transpose(1, 2)
        made = functional.scaled_dot_product_attention(heads, heads, heads)
        return made.transpose(1, 2).flatten(-2)

    x = torch.nested.nested_tensor(parts, layout=torch.jagged, requires_grad=True)
    found = profile_step(lambda: step(x).values().sum().backward())
    products = sum(2 * length * length * 8 for length in (5, 3))
    assert found.uncounted == {}
    assert found.ops_by_phase["forward"].matmul_flops == 2 * 2 * products
    assert found.ops_by_phase["backward"].matmul_flops == 4 * 2 * products


def totals(step: Callable[[], Any]) -> tuple[int, dict[str, int]]:
    """Return the operations of a step, and what was not counted."""
    found = profile_step(step)
    return found.ops.total, found.uncounted


def test_control_flow() -> None:
    """A branch that is taken, and each pass of a loop, are counted op by op."""
    x, rows = torch.ones(3), torch.ones(4, 3)
    assert totals(lambda: torch.cond(torch.tensor(True), torch.sin, lambda a: a * a * a, (x,))) == (
        3,
        {},
    )
    assert totals(lambda: map_rows(lambda row, y: row.sin() + y, rows, x)) == (4 * 6, {})
    assert totals(lambda: scan(lambda c, r: (c + r, c * r), x, rows, dim=0)) == (4 * 6, {})

    def loop() -> Any:
        return while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y.sin()), (torch.tensor(0), x))

    assert totals(loop) == (4 + 3 + 3 * 3, {})


def test_a_branch_is_differentiated() -> None:
    """The gradient of a branch is backward, and right; `cond` runs the branch again for it."""
    x = torch.ones(3, requires_grad=True)
    found = profile_step(
        lambda: torch.cond(torch.tensor(True), torch.sin, torch.cos, (x,)).sum().backward()
    )
    assert found.ops_by_phase["backward"].elementary == 3 + 3
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(3).cos())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_flex_attention_is_listed() -> None:
    """An op that runs others inside and is no control flow is listed as not counted."""
    q = torch.randn(1, 2, 16, 8)
    with torch.no_grad():
        found = profile_step(lambda: flex_attention(q, q, q))
    assert found.uncounted == {"flex_attention": 1, "aten.sort.stable": 1}
    assert found.live_after_bytes >= q.nbytes


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")
def test_a_compiled_model() -> None:
    """A compiled model is measured as its ops, also after a warm-up, and compiles no recorder."""
    model, x = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)), torch.ones(2, 4)
    compiled = torch.compile(model, backend="aot_eager")

    def step(run: Callable[[torch.Tensor], torch.Tensor]) -> Profile:
        model.zero_grad()
        return profile_step(lambda: run(x).sum().backward(), model=model)

    plain, cold = step(model), step(compiled)
    compiled(x).sum().backward()
    warm = step(compiled)
    assert plain.ops_by_phase == cold.ops_by_phase == warm.ops_by_phase
    assert plain.peak_bytes == cold.peak_bytes == warm.peak_bytes


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")
def test_values_of_fake_tensors() -> None:
    """A step that asks for a value is refused in one line; copying a model is not."""
    with FakeTensorMode():
        model, x = nn.Linear(4, 1), torch.ones(2, 4)
        with pytest.raises(ValuesError) as caught:
            profile_step(lambda: model(x).sum().item())
        assert profile_step(lambda: copy.deepcopy(model)).live_after_bytes == 4 * 5
        with pytest.raises(ValuesError, match="profile it on real tensors"):
            profile_step(lambda: model(x).detach().numpy())
    assert str(caught.value) == (
        "the step reads values of tensors (aten._local_scalar_dense.default), which fake tensors "
        "do not have; expected a step without .item() and the like; profile it on real tensors"
    )


def test_symbolic_shapes() -> None:
    """Fake tensors with symbolic sizes are measured at the sizes that they stand for."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    x, weight = torch.randn(7, 16), torch.randn(16, 5)
    plain = profile_step(lambda: (x @ weight).exp())
    with mode:
        fake_x, fake_weight = mode.from_tensor(x), mode.from_tensor(weight)
        found = profile_step(lambda: (fake_x @ fake_weight).exp())
    assert (found.peak_bytes, found.ops) == (plain.peak_bytes, plain.ops)


@pytest.mark.parametrize("pool", [False, True], ids=["thread", "pool"])
def test_ops_in_another_thread_are_listed(pool: bool) -> None:
    """What a step runs in another thread is not counted, and listed."""
    weight = torch.randn(8, 8)

    def step() -> None:
        if pool:
            with ThreadPoolExecutor(1) as workers:
                workers.submit(lambda: weight @ weight).result()
        else:
            thread = threading.Thread(target=lambda: weight @ weight)
            thread.start()
            thread.join()

    start, submit = threading.Thread.start, ThreadPoolExecutor.submit
    found = profile_step(step)
    assert found.uncounted == {"aten.mm.default in another thread": 1}
    assert "aten.mm.default in another thread, 1 call" in str(found)
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == (start, submit)


def test_two_profiles_in_two_threads() -> None:
    """Each thread's profile is that of a thread alone, and nothing is left behind."""

    def measured(_: int) -> Any:
        model, x = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)), torch.ones(8, 16)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step() -> None:
            model(x).sum().backward()
            optimizer.step()
            model.zero_grad()

        found = profile_step(step, model=model)
        calls = tuple(found.by_module()["calls"])
        return found.ops_by_phase, calls, found.peak_by_role, found.uncounted

    engine = torch.autograd._engine_run_backward
    alone = measured(0)
    with ThreadPoolExecutor(2) as pool:
        assert all(found == alone for found in pool.map(measured, range(60)))
    assert torch.autograd._engine_run_backward is engine


def test_a_number_comes_before_the_tensors() -> None:
    """A `_foreach_` op whose first argument is a number costs what it costs on each tensor."""
    found = profile_step(lambda: torch._foreach_pow(2.0, [torch.ones(3), torch.ones(2)]))
    assert found.ops.elementary == 5


def test_no_elements_cost_nothing() -> None:
    """Shapes without elements have no negative counts."""
    found = profile_step(lambda: functional.group_norm(torch.zeros(2, 4, 0), 1))
    assert all(min(astuple(cost)) >= 0 for cost in found.ops_by_phase.values())
