"""`profile_step`: operations, live bytes, roles and modules of plain PyTorch, against formulas,
PyTorch's own counters and our engine.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.optim import optimizer as optimizers
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from autodiff import networks
from autodiff.errors import GraphError
from experiments.theory.pytorch import pytorch_peak_elements
from profiler import Profile, profile, profile_step

N, D, B = 5, 8, 6
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "identity": lambda x: x,
}


class Chain:
    """The network of the exercise in plain PyTorch."""

    def __init__(
        self, n: int = N, d: int = D, b: int = B, activation: str = "tanh", device: str = "cpu"
    ) -> None:
        self.weights = [torch.randn(d, d, device=device).requires_grad_() for _ in range(n)]
        self.input = torch.randn(d, b, device=device)
        self.activation = ACTIVATIONS[activation]

    def output(self) -> torch.Tensor:
        """The last activation."""
        h = self.input
        for weight in self.weights:
            h = self.activation(weight @ h)
        return h

    def loss(self) -> torch.Tensor:
        """The sum of the output."""
        return self.output().sum()

    def step(self) -> tuple[torch.Tensor, ...]:
        """Forward and backward to every weight."""
        return torch.autograd.grad(self.loss(), self.weights)


def blocks(n: int = N, d: int = D) -> nn.Sequential:
    """Blocks of a linear layer and tanh, so that a block is a module with modules in it."""
    return nn.Sequential(*[nn.Sequential(nn.Linear(d, d, bias=False), nn.Tanh()) for _ in range(n)])


def x(b: int = B, d: int = D) -> torch.Tensor:
    """A batch, examples in rows."""
    return torch.randn(b, d)


def roles(found: Profile) -> dict[str, int]:
    """The roles that have bytes at the peak."""
    return {role: nbytes for role, nbytes in found.peak_by_role.items() if nbytes}


# Operations.


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_counts_what_the_engine_counts(activation: str) -> None:
    """A chain run by PyTorch has the operations of the same chain in the engine, kind by kind and
    phase by phase.
    """
    net = networks.chain(N, D, B, activation=activation)
    assert (
        profile_step(Chain(activation=activation).step).ops_by_phase
        == profile(net.loss, net.weights).ops_by_phase
    )


def test_counts_cross_entropy_like_the_engine() -> None:
    """So it has with cross-entropy at its end."""
    net = networks.chain(N, D, B, loss="cross_entropy")
    plain, classes = Chain(), torch.randint(0, D, (B,))

    def step() -> Any:
        loss = functional.cross_entropy(plain.output().t(), classes, reduction="sum")
        return torch.autograd.grad(loss, plain.weights)

    assert profile_step(step).ops_by_phase == profile(net.loss, net.weights).ops_by_phase


def test_an_op_that_the_table_lacks_is_listed() -> None:
    """A sort is counted as nothing, and said so with its number of calls, also in print; a step of
    known ops lists nothing.
    """
    values = torch.randn(7)
    found = profile_step(lambda: (values.sort()[0] + values.sort()[0]).sum())
    assert found.uncounted == {"aten.sort.default": 2}
    assert found.ops.total == 7 + 6
    assert "aten.sort.default, 2 calls" in str(found)
    assert profile_step(Chain().step).uncounted == {}


def test_a_custom_op_is_listed() -> None:
    """An op of another library is listed by its name."""
    with torch.library._scoped_library("tapemeasure_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda value: value * 2, "CompositeExplicitAutograd")
        found = profile_step(lambda: torch.ops.tapemeasure_test.twice(torch.ones(3)))
    assert found.uncounted == {"tapemeasure_test.twice.default": 1}


# Live bytes.


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize(("n", "d", "b"), [(2, 3, 7), (5, 8, 6), (4, 8, 2), (9, 3, 8)])
def test_peaks_are_those_of_the_formulas(activation: str, n: int, d: int, b: int) -> None:
    """The peak of every mode is the formula's to the last element."""
    chain = Chain(n, d, b, activation)
    w = chain.weights

    def no_grad() -> torch.Tensor:
        with torch.no_grad():
            return chain.loss()

    found = {
        ("no_grad", None): profile_step(no_grad),
        ("forward", None): profile_step(chain.loss),
        ("full", None): profile_step(chain.step),
        ("w1_only", None): profile_step(lambda: with_gradients_of(chain, w[:1])),
        ("only", n): profile_step(lambda: with_gradients_of(chain, w[-1:])),
    }
    for (mode, wrt), measured in found.items():
        assert measured.peak_bytes == 4 * pytorch_peak_elements(mode, n, d, b, activation, wrt), (
            mode,
            wrt,
        )
        assert sum(measured.peak_by_role.values()) == measured.peak_bytes
    area = b * d
    after = 4 * (((2 * n - 1) if activation == "gelu" else n) * area + 1)
    assert found["forward", None].live_after_bytes == after
    assert found["full", None].live_after_bytes == 4 * n * d**2


def with_gradients_of(chain: Chain, wanted: list[torch.Tensor]) -> Any:
    """A step of a chain in which the other weights are frozen."""
    for weight in chain.weights:
        weight.requires_grad_(any(weight is one for one in wanted))
    try:
        return torch.autograd.grad(chain.loss(), wanted)
    finally:
        for weight in chain.weights:
            weight.requires_grad_()


def test_what_a_variable_holds_counts() -> None:
    """A local variable that holds the last activation through the backward pass costs its bytes:
    the checker sees lifetimes, not ops.
    """
    chain = Chain()

    def step() -> Any:
        h = chain.output()
        return torch.autograd.grad(h.sum(), chain.weights)

    assert profile_step(step).peak_bytes > profile_step(chain.step).peak_bytes
    held = profile_step(step).alive_at_peak()
    assert "because something still holds it, though no op reads it any more" in set(held["why"])


def test_what_existed_before_is_left_out() -> None:
    """Parameters, inputs, buffers and gradients from before are reported by role and are not in the
    peak.
    """
    model = nn.Sequential(nn.Linear(D, D), nn.BatchNorm1d(D))
    batch = x()
    model(batch).sum().backward()
    found = profile_step(lambda: model(batch).sum().backward(), model=model)
    assert found.parameter_bytes == found.given_bytes["parameter"] == 4 * (D * D + 3 * D)
    assert found.given_bytes["buffer"] == 4 * 2 * D + 8
    assert found.input_bytes == 4 * B * D
    assert found.given_bytes["parameter_gradient"] == found.parameter_bytes
    assert found.live_after_bytes == 0
    assert roles(found).keys() <= {"activation", "gradient", "temporary"}


def test_arguments_are_inputs() -> None:
    """A tensor that is passed and never read is an input all the same; a bare leaf that requires
    gradients is a parameter.
    """
    weight, unread = torch.randn(3, 3, requires_grad=True), torch.randn(100)
    found = profile_step(
        lambda w, data: (w @ data["x"]).sum().backward(),
        weight,
        {"x": torch.ones(3, 2), "unread": unread},
    )
    assert (found.parameter_bytes, found.input_bytes) == (36, 24 + 400)
    assert found.peak_by_role["parameter_gradient"] == 36


def test_views_and_in_place_ops_allocate_nothing() -> None:
    """Of a product, its view, and an activation written into it one buffer lives."""
    weight, batch = torch.randn(D, D), torch.randn(D, B)

    def step() -> torch.Tensor:
        h = (weight @ batch).relu_()
        h.t()[1:].add_(1)
        return h.view(-1)

    found = profile_step(step)
    assert found.peak_bytes == found.live_after_bytes == 4 * D * B
    assert found.ops.total == D * B * (2 * D - 1) + D * B + (B - 1) * D


def test_tied_weights_accumulate() -> None:
    """A weight used twice is one parameter; its two shares of gradient are temporaries, their sum
    its gradient.
    """
    weight, batch = torch.randn(D, D, requires_grad=True), torch.randn(D, B)
    found = profile_step(lambda: (weight @ (weight @ batch)).sum().backward())
    assert found.parameter_bytes == 4 * D * D
    assert found.live_after_bytes == 4 * D * D
    last = found.timeline().iloc[-1]
    assert (last["parameter_gradient"], last["live_bytes"]) == (4 * D * D, 4 * D * D)
    assert found.timeline()["temporary"].max() == 2 * 4 * D * D


def test_accumulating_into_a_gradient_makes_a_temporary() -> None:
    """A second backward pass in one step adds to the gradient that the first left; its own is a
    temporary.
    """
    chain = Chain(1)

    def step() -> None:
        chain.loss().backward()
        chain.loss().backward()

    timeline = profile_step(step).timeline()
    assert timeline["parameter_gradient"].max() == timeline["temporary"].max() == 4 * D * D


def test_literals_and_resized_storages() -> None:
    """A tensor made from a literal is born in the step; a result that an op resizes is counted at
    its new size.
    """
    literal = profile_step(lambda: torch.tensor([1.0, 2.0, 3.0]))
    assert (literal.live_after_bytes, literal.input_bytes) == (12, 0)
    with FakeTensorMode():
        literal = profile_step(lambda: torch.tensor([1.0, 2.0, 3.0]))
    assert (literal.live_after_bytes, literal.input_bytes) == (12, 0)

    def step() -> torch.Tensor:
        out = torch.empty(0)
        torch.add(torch.ones(5), 1, out=out)
        return out

    assert profile_step(step).live_after_bytes == 20


def test_a_sparse_gradient_is_its_indices_and_values() -> None:
    """The gradient of a sparse embedding lives in the indices and values of the rows that were
    read, however large the table.
    """
    model = nn.Embedding(1000, 4, sparse=True)
    rows = torch.tensor([3, 1, 4, 1, 5])
    found = profile_step(lambda: model(rows).sum().backward(), model=model)
    assert found.peak_by_role["parameter_gradient"] >= found.live_after_bytes == 5 * 8 + 5 * 4 * 4
    assert found.uncounted == {}
    assert model.weight.grad is not None
    assert model.weight.grad.layout is torch.sparse_coo


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_sparse_arguments_are_inputs() -> None:
    """A sparse matrix that a step reads is an input of its indices and values."""
    places, values = torch.arange(3), torch.ones(3)
    by_place = torch.sparse_coo_tensor(
        torch.stack([places, places]), values, (3, 3), check_invariants=True
    )
    by_row = torch.sparse_csr_tensor(torch.arange(4), places, values, (3, 3), check_invariants=True)
    for matrix, held in ((by_place, 2 * 3 * 8 + 3 * 4), (by_row, 4 * 8 + 3 * 8 + 3 * 4)):
        assert profile_step(lambda m: m @ torch.ones(3, 2), matrix).input_bytes == held


# Phases.


def test_checkpointing_is_recomputation() -> None:
    """Every block checkpointed: 4n − 1 products instead of 3n − 1, and each recomputed product is
    in the phase recompute.
    """
    for reentrant in (False, True):
        model, batch = blocks(), x()

        def step(
            model: nn.Sequential = model, batch: torch.Tensor = batch, reentrant: bool = reentrant
        ) -> None:
            h = batch.clone().requires_grad_() if reentrant else batch
            for block in model:
                h = checkpoint(block, h, use_reentrant=reentrant)
            h.sum().backward()

        found = profile_step(step, model=model)
        products = 2 * B * D * D
        assert (
            found.ops_by_phase["forward"].matmul_flops
            == found.ops_by_phase["recompute"].matmul_flops
            == N * products
        )
        assert (
            found.ops_by_phase["backward"].matmul_flops
            == (2 * N - (0 if reentrant else 1)) * products
        )
        rows = found.by_module().set_index("module")
        assert (rows["calls"]["0.0"], rows["recomputed"]["0.0"]) == (1, 1)
        assert rows["ops_recompute"]["0.0"] == rows["ops_forward"]["0.0"]


@pytest.mark.parametrize("segments", [2, 4])
def test_checkpoint_sequential_leaves_its_last_segment_alone(segments: int) -> None:
    """With k segments n/k products are saved: 4n − 1 − n/k."""
    model, batch = blocks(8), x()
    found = profile_step(
        lambda: checkpoint_sequential(model, segments, batch, use_reentrant=False).sum().backward(),
        model=model,
    )
    assert found.matmul_flops == (4 * 8 - 1 - 8 // segments) * 2 * B * D * D


def test_a_checkpoint_that_turns_autograd_off_inside() -> None:
    """What is computed again with autograd off is recompute, too; and a backward pass that builds a
    graph is no recomputation.
    """
    weight, batch = torch.randn(D, D, requires_grad=True), torch.randn(D, B)

    def block(h: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(weight @ h)
        with torch.no_grad():
            scale = h.exp()
        return torch.tanh((h * scale) @ batch.t())

    for create_graph in (False, True):
        found = profile_step(
            lambda create_graph=create_graph: torch.autograd.grad(
                checkpoint(block, batch, use_reentrant=False).sum(),
                weight,
                create_graph=create_graph,
            )
        )
        recomputed, forward = found.ops_by_phase["recompute"], found.ops_by_phase["forward"]
        assert recomputed.elementary == forward.elementary == 2 * D * B + D * D
        assert recomputed.matmul_flops == forward.matmul_flops


def test_gradients_of_gradients_are_backward() -> None:
    """The products of both backward passes are of the backward phase; the penalty between them,
    which is taped, is forward.
    """
    weight, batch = torch.randn(D, D, requires_grad=True), torch.randn(D, B)

    def step() -> None:
        (gradient,) = torch.autograd.grad((weight @ batch).tanh().sum(), weight, create_graph=True)
        (gradient * gradient).sum().backward()

    found = profile_step(step)
    assert found.ops_by_phase["recompute"].total == 0
    assert found.ops_by_phase["forward"].matmul_flops == 2 * D * D * B
    assert found.ops_by_phase["forward"].multiplications == D * D * B + D * D
    assert found.ops_by_phase["backward"].matmul_flops == 3 * 2 * D * D * B


def test_updates_by_hand_are_backward() -> None:
    """Clipping and updating with autograd off, which read gradients, are backward; reading the loss
    is not.
    """
    chain = Chain(1)

    def step() -> float:
        loss = chain.loss()
        loss.backward()
        with torch.no_grad():
            for weight in chain.weights:
                assert weight.grad is not None
                weight -= 0.5 * weight.grad
        return loss.detach().mul(2).item()

    found = profile_step(step)
    plain = profile_step(Chain(1).step)
    assert found.ops_by_phase["backward"].total == plain.ops_by_phase["backward"].total + 2 * D * D
    assert found.ops_by_phase["forward"].total - plain.ops_by_phase["forward"].total == 1


def test_inference_counts_what_training_counts() -> None:
    """Under no_grad and inference_mode forward has the same operations, and no graph is kept: two
    activations are alive at most.
    """
    model, batch = nn.Sequential(*[layer for block in blocks() for layer in block]), x()
    trained = profile_step(lambda: model(batch), model=model)
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            found = profile_step(model, batch, model=model)
        assert found.ops_by_phase == trained.ops_by_phase
        assert found.peak_bytes == 2 * 4 * B * D
        assert found.parameter_bytes == trained.parameter_bytes


def test_frozen_parameters_get_no_gradient() -> None:
    """With all but the last block frozen one product is left for the backward pass; frozen
    parameters are parameters.
    """
    model, batch = blocks(), x()
    model[:-1].requires_grad_(False)
    found = profile_step(lambda: model(batch).sum().backward(), model=model)
    assert found.ops_by_phase["backward"].matmul_flops == 2 * B * D * D
    assert found.parameter_bytes == 4 * N * D * D
    assert found.live_after_bytes == 4 * D * D


def test_autocast_computes_in_half_precision() -> None:
    """Under autocast the operations are the same, and activations take half the bytes."""
    model, batch = blocks(), x(64)
    plain = profile_step(lambda: model(batch).sum().backward(), model=model)
    model.zero_grad()

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(batch).sum()
        loss.backward()

    found = profile_step(step, model=model)
    assert found.matmul_flops == plain.matmul_flops
    assert found.peak_bytes < plain.peak_bytes
    assert found.live_after_bytes == plain.live_after_bytes


# Optimisers.

OPTIMIZERS: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], int]] = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1, foreach=False), 0),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False), 1),
    "momentum, foreach": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True), 1),
    "adam": (lambda p: torch.optim.Adam(p, foreach=False), 2),
    "adam, foreach": (lambda p: torch.optim.Adam(p, foreach=True), 2),
    "adamw, fused": (lambda p: torch.optim.AdamW(p, fused=True), 2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_state(name: str) -> None:
    """An update is a phase of its own; its state is born in the first step and given in the second;
    nothing is left uncounted.
    """
    make, states = OPTIMIZERS[name]
    model, batch = blocks(), x()
    optimizer = make(model.parameters())

    def step() -> None:
        model(batch).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first, second = profile_step(step, model=model), profile_step(step, model=model)
    counters = 4 * N if "adam" in name else 0  # the number of steps, a scalar a parameter
    state = states * 4 * N * D * D + counters
    assert first.live_after_bytes == state
    assert first.timeline()["optimizer_state"].max() == state
    assert second.live_after_bytes == 0
    assert second.given_bytes["optimizer_state"] == state
    assert second.ops_by_phase["optimizer"].total >= 2 * N * D * D
    assert second.uncounted == first.uncounted == {}


OTHERS = (
    "Adagrad",
    "Adadelta",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ASGD",
    "Adafactor",
)


@pytest.mark.parametrize("name", OTHERS)
def test_every_optimizer_of_pytorch_is_counted(name: str) -> None:
    """The optimisers of torch.optim leave no op uncounted; what they keep is their state, and the
    second step finds it.
    """
    model, batch = blocks(), x()
    optimizer = getattr(torch.optim, name)(model.parameters())

    def step() -> None:
        model(batch).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first, second = profile_step(step, model=model), profile_step(step, model=model)
    kept = [
        tensor
        for state in optimizer.state.values()
        for tensor in state.values()
        if isinstance(tensor, torch.Tensor)
    ]
    state = sum(
        nbytes
        for nbytes in {
            tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in kept
        }.values()
    )
    assert second.given_bytes["optimizer_state"] == state > 0
    assert first.uncounted == second.uncounted == {}


def test_a_scaled_loss_is_counted() -> None:
    """Unscaling gradients and updating the scale, as training in half precision does, leave no op
    uncounted.
    """
    model, batch = blocks(), x()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")

    def step() -> None:
        scaler.scale(model(batch).mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    found = profile_step(step, model=model)
    assert found.uncounted == {}
    assert found.ops_by_phase["optimizer"].total == 2 * N * D * D


def test_sgd_counts_its_formula() -> None:
    """u = μu + g, p − ηu: two multiplications and two additions an element after the first step,
    one each in it.
    """
    model, batch = blocks(), x()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False)

    def step() -> None:
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()

    elements = N * D * D
    for times in (1, 2):
        found = profile_step(step, model=model).ops_by_phase["optimizer"]
        assert (found.multiplications, found.additions) == (times * elements, times * elements)


# Without allocating.


def test_meta_and_fake_tensors_give_the_same_numbers() -> None:
    """Operations, peak and roles on meta and fake tensors are those of real ones."""
    model, batch = blocks(), x()
    real = profile_step(lambda: model(batch).sum().backward(), model=model)
    meta_model, meta_batch = blocks().to("meta"), batch.to("meta")
    with FakeTensorMode():
        fake_model, fake_batch = blocks(), x()
    for other, data in ((meta_model, meta_batch), (fake_model, fake_batch)):
        found = profile_step(
            lambda other=other, data=data: other(data).sum().backward(), model=other
        )
        assert found.ops_by_phase == real.ops_by_phase
        assert (found.peak_bytes, found.peak_by_role, found.given_bytes) == (
            real.peak_bytes,
            real.peak_by_role,
            real.given_bytes,
        )


def test_a_step_larger_than_memory() -> None:
    """A chain with terabytes of weights is measured on meta tensors, since nothing is allocated."""
    n, d, b = 3, 2**19, 2**10
    found = profile_step(Chain(n, d, b, device="meta").step)
    assert found.parameter_bytes == 4 * n * d * d
    assert found.peak_bytes == 4 * pytorch_peak_elements("full", n, d, b)


# Who is alive, and where.


def test_who_is_alive_at_the_peak() -> None:
    """A row names the module and op that made a buffer, and the forward op that saved it for
    backward.
    """
    model, batch = nn.Sequential(nn.Linear(D, D), nn.GELU()), x(40)
    table = profile_step(lambda: model(batch).sum().backward(), model=model).alive_at_peak()
    row = table[table["op"] == "addmm"].iloc[0]
    assert (row["module"], row["saved_in"], row["saved_by"], row["role"]) == (
        "0",
        "1",
        "gelu",
        "activation",
    )
    assert row["bytes"] == 4 * 40 * D
    assert "1.gelu#1 saved it and 1.gelu_backward#" in row["why"]
    assert table["bytes"].is_monotonic_decreasing


def test_rows_by_module_add_up() -> None:
    """The model's row and what ran outside it are the whole; a container is its parts; backward
    calls are of the module that taped them.
    """
    model, batch = blocks(), x()
    found = profile_step(lambda: model(batch).sum().backward(), model=model)
    rows = found.by_module().set_index("module")
    for phase, cost in found.ops_by_phase.items():
        assert rows[f"ops_{phase}"][""] + rows[f"ops_{phase}"]["(outside)"] == cost.total
        assert (
            rows[f"ops_{phase}"]["1"] == rows[f"ops_{phase}"]["1.0"] + rows[f"ops_{phase}"]["1.1"]
        )
    assert rows["matmul_flops"][""] == found.matmul_flops
    assert rows["matmul_flops"]["0.0"] == 2 * 2 * B * D * D
    assert rows["matmul_flops"]["1.0"] == 3 * 2 * B * D * D
    assert rows["ops_backward"]["1.1"] == 3 * B * D
    assert rows["peak_bytes"][""] + rows["peak_bytes"]["(outside)"] == found.peak_bytes
    assert rows["parameter_bytes"][""] == found.parameter_bytes
    assert rows["calls"]["1.1"] == 1


def test_a_step_without_a_model_has_one_row() -> None:
    """Without a model everything is outside; a graph of the engine has no modules and says so."""
    rows = profile_step(Chain().step).by_module()
    assert rows["module"].tolist() == ["(outside)"]
    net = networks.chain(1, 2, 2)
    with pytest.raises(GraphError, match="no modules"):
        profile(net.loss, net.weights).by_module()


def test_timeline_trace_and_print(tmp_path: Path) -> None:
    """The timeline's live bytes are the running sum of its events and reach the peak; the trace and
    the table are written.
    """
    found = profile_step(Chain().step)
    timeline = found.timeline()
    signs = timeline["event"].map({"allocated": 1, "freed": -1, "computed": 0})
    assert (signs * timeline["bytes"]).cumsum().tolist() == timeline["live_bytes"].tolist()
    assert timeline["live_bytes"].max() == found.peak_bytes
    assert timeline["time_ns"].is_monotonic_increasing
    events = json.loads(found.to_chrome_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X" and event["cat"] != "module"]
    assert len(spans) == (timeline["event"] == "computed").sum()
    assert "operations (pytorch)" in str(found)
    assert found.wall_ns is not None
    assert math.isclose(sum(found.wall_ns.values()), timeline["time_ns"].max(), rel_tol=1e-9)


def test_what_a_step_returns() -> None:
    """A scalar first result is the loss, the others the gradients; they are detached, so a profile
    keeps no graph alive.
    """
    chain = Chain()
    found = profile_step(lambda: (loss := chain.loss(), torch.autograd.grad(loss, chain.weights)))
    assert found.loss.grad_fn is None
    assert [gradient.shape for gradient in found.gradients] == [
        weight.shape for weight in chain.weights
    ]


# PyTorch is left as it was.


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """What PyTorch keeps globally is the same after as before."""

    def globals_of_torch() -> tuple[Any, ...]:
        module = torch.nn.modules.module
        hooks = [module._global_forward_hooks, module._global_forward_pre_hooks]
        hooks += [optimizers._global_optimizer_pre_hooks, optimizers._global_optimizer_post_hooks]
        return (
            torch.autograd._engine_run_backward,
            *map(len, hooks),
            torch._C._len_torch_dispatch_stack(),
        )

    before = globals_of_torch()
    yield
    assert globals_of_torch() == before


def test_pytorch_is_left_as_it_was() -> None:
    """After a step, and after one that fails in its backward pass, no hook, wrapper or
    mode stays.
    """
    model, batch = blocks(), x()

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value * 2

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError

    with unchanged():
        profile_step(lambda: model(batch).sum().backward(), model=model)
    with unchanged(), pytest.raises(ZeroDivisionError):
        profile_step(lambda: Fails.apply(model(batch)).sum().backward(), model=model)


def test_results_are_the_steps_own() -> None:
    """Measuring changes no number: gradients equal those of the plain step to the last bit."""
    chain = Chain()
    assert all(
        torch.equal(a, b)
        for a, b in zip(chain.step(), profile_step(chain.step).gradients, strict=True)
    )


def test_bad_input() -> None:
    """What is no callable and what is no module are refused in one line."""
    with pytest.raises(GraphError, match="expected a callable"):
        profile_step(3)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="expected a torch"):
        profile_step(lambda: None, model=[])  # type: ignore[arg-type]
