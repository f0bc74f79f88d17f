"""`profile_module` measures the step that was meant: its loss, its autocast, its kernels, its own
function.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from experiments import profile_module
from experiments.errors import ConfigError, ModuleError
from experiments.modules import profiling
from experiments.modules.build import make_module
from experiments.modules.losses import loss_of
from experiments.modules.prediction import Search
from experiments.modules.sentences import kernels_of, step_words, verdict
from experiments.modules.step import Step, profiled_steps
from profiler import profile_step
from tests.support import command_line
from tests.support.module_configs import attention, config_of
from tests.support.paths import ROOT

HERE = __name__
MLP = ("model=mlp", "model.arguments.layers=2", "model.arguments.width=8", "plans=false")


def run_main(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of the command in a directory."""
    return command_line.run_main(*arguments, "hydra.run.dir=run", cwd=cwd, command=profile_module)


# The loss.


@dataclasses.dataclass
class Output:
    """An output as models make them; pytree has no rule for it."""

    logits: torch.Tensor
    objective: torch.Tensor


X = torch.arange(6.0).reshape(2, 3)
SCALAR = torch.tensor(7.0)


@pytest.mark.parametrize(
    ("output", "value", "words"),
    [
        ({"loss": SCALAR, "x": X}, 7.0, "the output's own"),
        ({"loss": X}, 2.5, "the mean of the output's own"),
        ((X, SCALAR), 7.0, "the scalar of the output"),
        ((SCALAR, X), 7.0, "the scalar of the output"),
        (Output(X, SCALAR), 7.0, "the scalar of the output"),
        ([Output(X, SCALAR)], 7.0, "the scalar of the output"),
        ((SCALAR, 2 * SCALAR, X), 7.0, "the first of 2 scalars of the output"),
        ((torch.tensor(3), X), 2.5, "mean of the first tensor: no loss found"),
        (X, 2.5, "mean of the first tensor: no loss found"),
    ],
)
def test_the_loss_that_is_taken_is_named(output: Any, value: float, words: str) -> None:
    """An output's own loss is found in mappings, tuples and dataclasses; auto says what it took."""
    loss, took = loss_of(output, "auto", None)
    assert (float(loss), took) == (value, words)


def test_a_loss_that_is_missing_is_refused() -> None:
    """loss=own wants a loss in the output, and every rule a floating-point tensor."""
    with pytest.raises(ConfigError, match="has no loss"):
        loss_of(X, "own", None)
    with pytest.raises(ModuleError, match="without a floating-point tensor"):
        loss_of(torch.tensor([1, 2]), "auto", None)


@pytest.mark.parametrize(
    ("rule", "labels"), [("cross_entropy", (2, 4, 5)), ("cross_entropy_last", (2, 3, 4))]
)
def test_cross_entropy_takes_its_classes_where_it_says(rule: str, labels: tuple[int, ...]) -> None:
    """As PyTorch has it, classes are dimension 1; for sequence models they are the last."""
    config = config_of(
        "model.path=torch.nn.Conv2d",
        "model.arguments={in_channels: 1, out_channels: 3, kernel_size: 1}",
        "input.shape=[1,4,5]",
        "batch=2",
        f"loss={rule}",
    )
    torch.manual_seed(0)
    module = nn.Conv2d(1, 3, 1)
    step = Step(module, config)
    batch = step.batch(2)
    assert batch.labels is not None
    assert batch.labels.shape == labels
    logits = module(batch.first[0])
    logits = logits if rule == "cross_entropy" else logits.movedim(-1, 1)
    torch.testing.assert_close(step.loss(batch), functional.cross_entropy(logits, batch.labels))


class Squares(nn.Module):
    """A module whose loss autocast computes in another dtype than its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_the_loss_is_inside_autocast_and_backward_outside() -> None:
    """The step under autocast is the one that PyTorch documents, to the byte; a loss outside is
    another.
    """
    config = config_of(
        f"model.path={HERE}.Squares",
        "input.shape=[64]",
        "batch=16",
        "autocast=bfloat16",
        "optimizer=none",
        "loss=cross_entropy",
    )
    torch.manual_seed(0)
    module = Squares()
    step = Step(module, config)
    batch = step.batch(16)

    def documented(x: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(module(x), labels)
        loss.backward()
        module.zero_grad()

    def outside(x: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            output = module(x)
        functional.cross_entropy(output, labels).backward()
        module.zero_grad()

    ours = profiled_steps(step, 16).later
    right, wrong = (
        profile_step(one, *batch.tensors, model=module) for one in (documented, outside)
    )
    assert ours.peak_bytes == right.peak_bytes
    assert ours.ops_by_phase == right.ops_by_phase
    assert wrong.ledger.live.tolist() != right.ledger.live.tolist()


# The verdict.


@pytest.mark.parametrize(("dropout", "kernel"), [(0.0, "flash"), (0.1, "math")])
def test_the_verdict_names_the_attention_kernel(dropout: float, kernel: str) -> None:
    """With dropout the CPU takes the math kernel, without the fused one, and the verdict says
    which.
    """
    result = profiling.measured(attention(dropout, "memory=1MB"))
    assert f"fits in 1 MB (976.6 KiB) with the CPU's attention kernel ({kernel}): " in verdict(
        result
    )


def test_without_attention_the_kernels_are_the_cpus() -> None:
    """A module without attention has no attention kernel."""
    assert kernels_of(profiling.measured(config_of(*MLP)).profile) == "the CPU's kernels"


def test_sizes_in_a_verdict_differ_where_the_numbers_do() -> None:
    """A batch that does not fit is never said to need what is there."""
    result = profiling.measured(config_of(*MLP, "memory=24GiB"))
    whole = 24 * 2**30
    search = Search(443, {443: whole - 5 * 10**7, 444: whole + 10**6})
    said = verdict(dataclasses.replace(result, search=search))
    assert said.endswith("443 (23.953 GiB); 444 would need 24.001 GiB.")
    assert "fits in 24 GiB" in said


def test_the_step_says_which_loss_it_took() -> None:
    """loss=auto names what it was made of."""
    result = profiling.measured(config_of(*MLP, "loss=auto"))
    assert "loss auto (mean of the first tensor: no loss found)" in step_words(result)


# A step of the user's own.

STEP = """
import torch

def plain(model, batch):
    model(batch).square().sum().backward()
    for parameter in model.parameters():
        parameter.grad = None

def updating(model, batch, optimizer):
    model(batch).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()

def leaving(model, batch):
    raise SystemExit(5)

word = "no function"
"""


@pytest.mark.parametrize("name", ["plain", "updating"])
def test_a_step_of_the_users_own_is_measured(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are those of the function on real tensors; with a third parameter it gets the
    optimiser.
    """
    (tmp_path / "train.py").write_text(STEP)
    monkeypatch.chdir(tmp_path)
    config = config_of(*MLP, f"step=train.py:{name}", "optimizer=sgd", "batch=4")
    result = profiling.measured(config)
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(4, 8)

    def by_hand(x: torch.Tensor) -> None:
        model(x).square().sum().backward()
        if name == "updating":
            optimizer.step()
            optimizer.zero_grad()
        else:
            for parameter in model.parameters():
                parameter.grad = None

    for _ in range(2):
        expected = profile_step(by_hand, x, model=model)
    assert result.profile.peak_bytes == expected.peak_bytes
    assert result.profile.ops_by_phase == expected.ops_by_phase
    assert f"train.py:{name}, given the module and the batch" in step_words(result)


def test_the_step_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/modules.md, with accumulation, clipping, a scaler and averages, takes on
    real tensors what is predicted on fake ones; the averages exist from the second step on.
    """
    page = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    (source,) = (
        block.split("```")[0]
        for block in page.split("```python\n")[1:]
        if "def train_step(" in block.split("```")[0]
    )
    (tmp_path / "train.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    fused = "optimizer_arguments={fused: true}"
    config = config_of(*MLP, "step=train.py:train_step", fused, "batch=4")
    predicted = profiling.measured(config).steps
    measured = profiled_steps(Step(make_module(config), config), config.batch)
    for one, other in ((predicted.first, measured.first), (predicted.later, measured.later)):
        assert one.given_bytes == other.given_bytes
        assert one.peak_bytes == other.peak_bytes
        assert one.ops_by_phase == other.ops_by_phase
    later, first = predicted.later.given_bytes, predicted.first.given_bytes
    assert later["input"] - first["input"] >= later["parameter"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("train.py:missing", "train.py has no function missing"),
        ("train.py:word", "train.py has no function word"),
        ("train.py:leaving", "on a batch of 8: SystemExit: 5 (at "),
        ("nosuch.py:step", "nosuch.py cannot be read: "),
        ("train.py", "expected a function such as train.py:train_step"),
    ],
)
def test_a_step_that_cannot_be_run_is_one_line(step: str, said: str, tmp_path: Path) -> None:
    """A step that is missing, is none, or leaves Python is one line and exit code 2."""
    (tmp_path / "train.py").write_text(STEP)
    code, _, err = run_main(*MLP, f"step={step}", cwd=tmp_path)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


# Modules that do what modules should not.


class Leaves(nn.Linear):
    """A module that ends Python when it is run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise SystemExit(5)


class LeavesAtOnce(nn.Linear):
    """A module that ends Python when it is made."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(3, 3)
        raise SystemExit(5)


class Small(nn.Linear):
    """A module that refuses more than ten examples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 10:
            raise ValueError("at most 10 examples")
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (f"{HERE}.Leaves", "SystemExit: 5"),
        (f"{HERE}.LeavesAtOnce", "cannot be made: SystemExit: 5"),
        ("torch.nn.LazyLinear", "is lazy: weight has no shape before a first batch"),
    ],
)
def test_a_module_that_ends_the_program_is_one_line(model: str, said: str, tmp_path: Path) -> None:
    """sys.exit in a module, and a lazy one, are one line and exit code 2."""
    arguments = "{out_features: 3}" if "Lazy" in model else "{in_features: 3, out_features: 3}"
    if model.endswith("AtOnce"):
        arguments = "{}"
    code, _, err = run_main(
        f"model.path={model}", f"model.arguments={arguments}", "input.shape=[3]", cwd=tmp_path
    )
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_a_module_that_refuses_larger_batches_keeps_its_report(tmp_path: Path) -> None:
    """The report of the batch that was asked for is written, and says why no largest was found."""
    code, out, err = run_main(
        f"model.path={HERE}.Small",
        "model.arguments={in_features: 3, out_features: 3}",
        "input.shape=[3]",
        "memory=1GB",
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    assert "fits in 1 GB (953.7 MiB)" in out
    assert "ValueError: at most 10 examples" in out
    assert (tmp_path / "run" / "report.html").exists()
