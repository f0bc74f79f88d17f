"""`profile_step`: fake tensors, who is alive and where, and PyTorch left as it was."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import optimizer as optimizers

from autodiff import networks
from autodiff.errors import GraphError
from experiments.theory.pytorch import pytorch_peak_elements
from profiler import profile, profile_step
from tests.support.torch_chain import B, Chain, D, blocks, x


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
