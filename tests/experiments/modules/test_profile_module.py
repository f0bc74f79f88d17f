"""`python -m experiments.profile_module`: fake tensors tell what real ones do, to the byte; the
largest batch; real models; what goes wrong.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from autodiff import parse_planner
from autodiff.pytorch import from_pytorch
from experiments import profile_module
from experiments.errors import ConfigError, FakeTensorError, ModuleError
from experiments.modules import profiling
from experiments.modules.build import imported, make_module
from experiments.modules.config import KEYS, ModuleConfig
from experiments.modules.prediction import (
    LARGEST_BATCH,
    MOST_MEASUREMENTS,
    FakeModule,
    largest_batch,
)
from experiments.modules.sentences import remarks
from experiments.modules.step import Step, Steps, needed_bytes, profiled_steps
from profiler import profile
from tests.support import command_line
from tests.support.module_configs import config_of
from tests.support.paths import ROOT

HERE = __name__

TINY = {
    "gpt2": "model.arguments.vocab_size=101 model.arguments.n_positions=16 "
    "model.arguments.n_embd=32 model.arguments.n_layer=2 model.arguments.n_head=4",
    "bert": "model.arguments.vocab_size=101 model.arguments.hidden_size=32 "
    "model.arguments.num_hidden_layers=2 model.arguments.num_attention_heads=4 "
    "model.arguments.intermediate_size=64 model.arguments.max_position_embeddings=16",
    "vit": "model.arguments.hidden_size=32 model.arguments.num_hidden_layers=2 "
    "model.arguments.num_attention_heads=4 model.arguments.intermediate_size=64 "
    "model.arguments.image_size=32 model.arguments.patch_size=8 model.arguments.num_labels=5",
    "resnet": "model.arguments.embedding_size=8 model.arguments.hidden_sizes=[16,32] "
    "model.arguments.depths=[1,1] model.arguments.num_labels=5 inputs.pixel_values.shape=[3,32,32]",
    "mlp": "model.arguments.layers=2 model.arguments.width=8",
}
SMALL = ["model=mlp", *TINY["mlp"].split()]
MODELS = [
    "gpt2",
    "resnet",
    *(pytest.param(model, marks=pytest.mark.slow) for model in ("bert", "vit")),
]
"""A transformer and a convolutional network; the other transformers take the same path."""
FIRST = [
    "gpt2",
    *(pytest.param(model, marks=pytest.mark.slow) for model in ("resnet", "bert", "vit")),
]
"""The same, one of them at once: for what takes seconds a model."""


def fake(config: ModuleConfig) -> Steps:
    """The steps on fake tensors."""
    return FakeModule(config).steps(config.batch)


def real(config: ModuleConfig) -> Steps:
    """The steps on real tensors."""
    torch.manual_seed(0)
    return profiled_steps(Step(make_module(config), config), config.batch)


def numbers(steps: Steps) -> list[Any]:
    """All that is known of two steps: bytes before, at the peak by role, after, at every op;
    operations by phase and kind.
    """
    return [
        (
            one.given_bytes,
            one.peak_bytes,
            one.peak_by_role,
            one.live_after_bytes,
            one.ledger.live.tolist(),
            one.ops_by_phase,
            one.uncounted,
        )
        for one in (steps.first, steps.later)
    ]


# What fake tensors tell.


@pytest.mark.parametrize("model", TINY)
def test_a_prediction_is_what_happens(model: str) -> None:
    """Bytes before, at the peak and at every op, and operations, are the same on fake tensors as on
    real ones, in a first and a later step.
    """
    config = config_of(f"model={model}", *TINY[model].split(), "batch=2")
    assert numbers(fake(config)) == numbers(real(config))


VARIANTS = [
    "optimizer=sgd",
    "optimizer=sgd optimizer_arguments={momentum:0.9}",
    "optimizer=adam optimizer_arguments={foreach:true}",
    "optimizer=torch.optim.RMSprop",
    "optimizer=none",
    "mode=forward",
    "dtype=bfloat16",
    "dtype=float64 loss=sum",
    "autocast=bfloat16",
    "checkpoint=[0,2]",
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prediction_is_what_happens_whatever_the_step(variant: str) -> None:
    """So they are for other optimisers, dtypes, losses, under autocast, without gradients, and
    where modules are checkpointed.
    """
    config = config_of(*SMALL, "batch=3", *variant.split())
    assert numbers(fake(config)) == numbers(real(config))


def test_an_lstm_keeps_its_flat_weights() -> None:
    """A module that holds its parameters a second time, in a list, is predicted as it is measured,
    with the workspace that oneDNN keeps.
    """
    config = config_of(
        "model.path=torch.nn.LSTM",
        "model.arguments={input_size: 4, hidden_size: 5}",
        "input.shape=[6,4]",
        "batch=2",
    )
    result = profiling.measured(config)
    parameters = 4 * (4 * 5 * 4 + 4 * 5 * 5 + 2 * 4 * 5)
    actual = real(config)
    assert result.profile.parameter_bytes == actual.later.parameter_bytes == parameters
    assert result.profile.ops_by_phase == actual.later.ops_by_phase
    assert result.profile.peak_bytes == actual.later.peak_bytes


def test_an_encoder_layer_in_inference_says_what_is_not_seen() -> None:
    """Where inference takes a whole layer in one op, the report says that its inside is not seen;
    in training nothing of that is said.
    """
    asked = (
        "model.path=torch.nn.TransformerEncoderLayer",
        "model.arguments={d_model: 8, nhead: 2, batch_first: true}",
        "input.shape=[3,8]",
    )
    inference, training = (
        remarks(profiling.measured(config_of(*asked, f"mode={mode}")))
        for mode in ("forward", "train")
    )
    assert any("_transformer_encoder_layer_fwd" in line for line in inference)
    assert not any("runs as one op" in line for line in training)


def test_a_prediction_that_misses_the_state_is_caught() -> None:
    """A first step, which has no optimiser's state before it, is told apart from a later one."""
    steps = fake(config_of(*SMALL))
    assert numbers(steps)[0] != numbers(steps)[1]


@pytest.mark.parametrize(
    ("optimizer", "times"), [("adamw", 2), ("adam", 2), ("sgd", 0), ("none", 0)]
)
def test_an_optimizers_state_is_added(optimizer: str, times: int) -> None:
    """Adam's state is two numbers a parameter and a count for each tensor; plain SGD has none."""
    later = fake(config_of(*SMALL, f"optimizer={optimizer}")).later
    tensors = 6 if times else 0
    assert later.given_bytes["optimizer_state"] == times * later.parameter_bytes + 4 * tensors


def test_what_is_needed_is_what_exists_and_the_peak() -> None:
    """Parameters, state and inputs by hand, and the peak above them, are what a step needs; the
    greater of first and later counts.
    """
    steps = fake(config_of(*SMALL, "batch=4"))
    parameters = 4 * (2 * (8 * 8 + 8) + 8 * 10 + 10)
    inputs = 4 * 8 * 4 + 4 * 8  # numbers, and labels of int64
    assert (
        needed_bytes(steps.later)
        == parameters + (2 * parameters + 4 * 6) + inputs + steps.later.peak_bytes
    )
    assert (
        steps.needed_bytes
        == max(needed_bytes(steps.first), needed_bytes(steps.later))
        == needed_bytes(steps.later)
    )


def test_a_module_larger_than_any_memory() -> None:
    """A layer of 16 TiB is measured without allocating it."""
    size = 2**21
    config = config_of(
        "model.path=torch.nn.Linear",
        f"model.arguments={{in_features: {size}, out_features: {size}}}",
        f"input.shape=[{size}]",
    )
    assert fake(config).later.parameter_bytes == 4 * (size * size + size)


class ReadsInConstructor(nn.Module):
    """A module whose constructor asks a tensor for a value, as depths of dropout are often made;
    tied, and with a tensor that is no buffer.
    """

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self.rate = torch.linspace(0, 0.5, 3, device=device)[2].item()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.other.weight = self.one.weight
        self.plain = [torch.ones(3)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(nn.functional.dropout(self.one(x), self.rate)) * self.plain[0]


@pytest.mark.parametrize(("device", "how"), [("cpu", "meta"), ("null", "real")])
def test_a_constructor_that_reads_values(device: str, how: str) -> None:
    """A module that fake tensors cannot make is made on the meta device, or for real; ties stay,
    and so do the numbers.
    """
    config = config_of(
        f"model.path={HERE}.ReadsInConstructor",
        f"model.arguments={{device: {device}}}",
        "input.shape=[3]",
    )
    module = FakeModule(config)
    assert module.how == how
    steps = module.steps(config.batch)
    assert steps.later.parameter_bytes == 4 * (9 + 3 + 3)
    assert numbers(steps) == numbers(real(config))


class ReadsInForward(nn.Module):
    """A module that goes another way by the values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h: torch.Tensor = self.layer(x)
        return h if h.sum() > 0 else 2 * h


def test_a_forward_that_reads_values_is_told() -> None:
    """What fake tensors cannot run is reported with the line that reads, and the way out."""
    with pytest.raises(
        FakeTensorError, match=rf"reads values .*{Path(__file__).name}:\d+.*execute=true"
    ):
        fake(config_of(f"model.path={HERE}.ReadsInForward", "input.shape=[3]"))


# The largest batch.


@given(
    lines=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), min_size=1, max_size=4),
    memory=st.integers(1, 10**8),
    start=st.integers(1, 10**4),
    unchanging=st.none() | st.integers(0, 10**8),
)
@settings(max_examples=200)
def test_the_largest_batch_is_the_largest(
    lines: list[tuple[int, int]], memory: int, start: int, unchanging: int | None
) -> None:
    """Of a piecewise affine need, the batch that is found fits and the next does not, both are
    measured, and few others are.
    """

    def needed(size: int) -> int:
        return max(fixed + each * size for fixed, each in lines)

    search = largest_batch(needed, memory, start, unchanging)
    fitting = [
        min(LARGEST_BATCH, (memory - fixed) // each) if each else LARGEST_BATCH * (fixed <= memory)
        for fixed, each in lines
    ]
    assert search.largest == max(0, min(fitting))
    assert all(search.needed[size] == needed(size) for size in search.needed)
    assert {max(1, search.largest), min(search.largest + 1, LARGEST_BATCH)} <= search.needed.keys()
    assert len(search.needed) <= MOST_MEASUREMENTS


@given(
    largest=st.integers(0, LARGEST_BATCH),
    start=st.integers(1, LARGEST_BATCH),
    below=st.integers(0, 100),
    above=st.integers(101, 10**15),
    slope=st.integers(0, 1),
)
@settings(max_examples=500)
def test_a_search_ends_where_no_line_leads(
    largest: int, start: int, below: int, above: int, slope: int
) -> None:
    """Bytes that leap at one batch mislead every line; the search still ends in time."""

    def needed(size: int) -> int:
        return slope * size + (below if size <= largest else above * LARGEST_BATCH)

    search = largest_batch(needed, below + slope * LARGEST_BATCH, start)
    assert search.largest == largest
    assert len(search.needed) <= MOST_MEASUREMENTS


def test_a_line_takes_few_measurements() -> None:
    """On one line the answer is found in five measurements, whether the first batch fits or not."""
    for start in (8, 100_000):
        assert len(largest_batch(lambda size: 1000 + 7 * size, 100_000, start).needed) <= 5


def test_a_line_from_what_no_batch_adds_to() -> None:
    """Where the bytes without a batch are known, that and the next batch are all that is tried."""
    for start in (8, 100_000):
        search = largest_batch(lambda size: 1000 + 7 * size, 100_000, start, 1000)
        assert search.needed.keys() == {start, 14142, 14143}


def test_a_need_that_falls_is_refused() -> None:
    """Where a greater batch needs less there is no largest one, and that is said."""
    with pytest.raises(ModuleError, match="do not grow with the batch"):
        largest_batch(lambda size: 100 - size if size > 8 else 10, 50, 8)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt2", "resnet"])
def test_the_boundary_of_a_real_model(model: str) -> None:
    """The largest batch of a small real model fits and one more does not, measured anew on fake and
    on real tensors.
    """
    memory = 3 * 2**20
    arguments = [f"model={model}", *TINY[model].split()]
    config = config_of(*arguments, f"memory={memory}B", "batch=2")
    result = profiling.measured(config)
    assert result.search is not None
    largest = result.search.largest
    inside, outside = (config_of(*arguments, f"batch={size}") for size in (largest, largest + 1))
    assert (
        fake(inside).needed_bytes
        == real(inside).needed_bytes
        == result.search.needed[largest]
        <= memory
    )
    assert (
        fake(outside).needed_bytes
        == real(outside).needed_bytes
        == result.search.needed[largest + 1]
        > memory
    )


# The command line.


def run_main(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of the command in a directory."""
    return command_line.run_main(*arguments, cwd=cwd, command=profile_module)


class Links(HTMLParser):
    """What a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [
            str(value)
            for name, value in attrs
            if name in ("src", "href") and not str(value).startswith("#")
        ]


@pytest.mark.parametrize("model", FIRST)
def test_a_real_model_from_the_command_line(model: str, tmp_path: Path) -> None:
    """A small one of each real model is profiled, and its report written: a page that loads
    nothing, two figures, the tables, the numbers.
    """
    code, out, err = run_main(
        f"model={model}",
        *TINY[model].split(),
        "batch=2",
        "memory=16MiB",
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    assert "A batch of 2 fits in 16 MiB" in out
    assert "The largest batch that fits is" in out
    assert "predicted on fake tensors" in out.lower()
    run = tmp_path / "run"
    said = json.loads((run / "summary.json").read_text())
    assert said["predicted"] is said["fits"] is True
    assert said["executed"] is None
    assert said["uncounted"] == {}
    tried = pd.read_csv(run / "batches.csv").set_index("batch")
    assert (
        bool(tried["fits"][said["largest_batch"]]),
        bool(tried["fits"][said["largest_batch"] + 1]),
    ) == (True, False)
    assert (
        sum(said["given_bytes"].values()) + said["peak_bytes"]
        == said["needed_bytes"]
        == tried["needed_bytes"][2]
    )
    buffers, timeline = pd.read_csv(run / "buffers.csv"), pd.read_csv(run / "timeline.csv")
    assert buffers["bytes"].sum() == timeline["live_bytes"].max() == said["peak_bytes"]
    modules = pd.read_csv(run / "modules.csv", keep_default_na=False).set_index("module")
    assert modules["peak_bytes"][["", "(outside)"]].sum() == said["peak_bytes"]
    page = (run / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.loaded == []
    for name in ("step", "modules"):
        ElementTree.parse(run / "figures" / f"{name}.svg")
        assert f'<figure id="{name}">' in page
    for buffer in buffers["node"][:5]:
        assert buffer in page
        assert buffer in out


@pytest.mark.parametrize("model", FIRST)
def test_what_planners_would_save_is_what_they_save(model: str, tmp_path: Path) -> None:
    """The report's savings are those of executing each plan on a real module of the same config,
    and its gradients are the plain ones.
    """
    asked = [f"model={model}", *TINY[model].split(), "batch=2"]
    code, out, _ = run_main(*asked, "hydra.run.dir=run", cwd=tmp_path)
    assert code == 0
    told = pd.read_csv(tmp_path / "run" / "savings.csv").set_index("planner")
    assert len(told) > 4
    page = (tmp_path / "run" / "report.html").read_text()
    assert 'id="plans"' in page
    assert (
        "What checkpointing would save, as PyTorch's ops planned by this project's planners" in out
    )
    config = config_of(*asked)
    torch.manual_seed(0)
    module = make_module(config)
    step, trained = (
        Step(module, config),
        [parameter for parameter in module.parameters() if parameter.requires_grad],
    )
    batch = step.batch(2)
    program = from_pytorch(
        lambda *tensors: (loss := step.loss(batch.of(tensors)), torch.autograd.grad(loss, trained)),
        *batch.tensors,
    )
    plain = None
    for name in ("store_all", "uniform(segments=2)", "revolve(snapshots=1)"):
        torch.manual_seed(1)  # what is drawn at random is drawn alike
        measured = profile(program, planner=parse_planner(name))
        assert (told.loc[name, "peak_bytes"], told.loc[name, "ops"]) == (
            measured.peak_bytes,
            measured.ops.total,
        )
        plain = measured.gradients if plain is None else plain
        assert all(
            torch.equal(one, other) for one, other in zip(measured.gradients, plain, strict=True)
        )
    best = told[told["is_best"]]
    for name in best.index:
        assert f' class="keep">{name}</td>' in page


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("plans=false",), ""),
        (("mode=forward",), ""),
        (
            ("model=gpt2", *TINY["gpt2"].split(), 'checkpoint=["transformer.h.*"]'),
            "the step is checkpointed already",
        ),
    ],
    ids=["false", "forward", "checkpointed"],
)
def test_what_is_not_planned_says_why(asked: tuple[str, ...], told: str, tmp_path: Path) -> None:
    """Savings are left out where nobody asks or nothing is trained, and where they are unknown the
    reason stands in their place.
    """
    base = [] if any(one.startswith("model") for one in asked) else SMALL
    code, out, err = run_main(*base, *asked, "hydra.run.dir=run", cwd=tmp_path)
    assert code == 0, err
    page = (tmp_path / "run" / "report.html").read_text()
    assert ('id="plans"' in page) == bool(told)
    assert ("checkpointing would save" in out) == bool(told)
    assert told in out
    assert not (tmp_path / "run" / "savings.csv").exists()


def test_executing_says_the_same(tmp_path: Path) -> None:
    """With execute=true the step also runs on real tensors, and its peak is said to be the
    predicted one; seconds are reported.
    """
    code, out, _ = run_main(*SMALL, "execute=true", "repeats=1", "hydra.run.dir=run", cwd=tmp_path)
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert code == 0
    assert "the same as predicted" in out
    assert said["executed"]["peak_bytes"] == said["peak_bytes"]
    assert said["executed"]["wall_ns"] > 0


def test_executing_measures_what_fake_tensors_cannot(tmp_path: Path) -> None:
    """A module that reads values is measured with execute=true, and the report says why it was not
    predicted.
    """
    asked = (
        f"model.path={HERE}.ReadsInForward",
        "input.shape=[3]",
        "memory=1MiB",
        "hydra.run.dir=run",
    )
    code, out, _ = run_main(*asked, "execute=true", "repeats=1", cwd=tmp_path)
    assert code == 0
    assert "Measured on real tensors, since" in out
    assert "The largest batch was not searched for." in out


def test_a_text_of_the_config_is_escaped(tmp_path: Path) -> None:
    """What the command line says goes into the page as text."""
    run_main(
        *SMALL, "optimizer_arguments={maximize: '<b>x</b>'}", "hydra.run.dir=run", cwd=tmp_path
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


WRONG = {
    "": "no model is given",
    "model=gtp2": "model='gtp2'; expected one of bert, gpt2, mlp, resnet, vit; did you mean gpt2?",
    "model.path=torch.nn.Linearr input.shape=[3]": "torch.nn has no Linearr; did you mean Linear?",
    "model.path=linear input.shape=[3]": "expected an import path",
    "model.path=nosuch.Thing input.shape=[3]": "there is no module nosuch",
    "model.path=torch.pi input.shape=[3]": "torch.pi is a float; expected a class or a function",
    "model.path=torch.Size input.shape=[3]": "makes a Size; expected what makes a torch.nn.Module",
    "model.path=torch.nn.Linear input.shape=[3]": "missing a required argument: "
    "'in_features'; it takes in_features, out_features",
    "model.path=torch.nn.Linear model.arguments={in_features:3,out_features:x} "
    "input.shape=[3]": "cannot be made: TypeError",
    "model=gpt2 +model.arguments.n_lyer=3": "GPT2Config has no such key; did you mean n_layer?",
    "model.path=torch.nn.ReLU": "no input is given; expected the shape of one example",
    "model=mlp input.shape=5": "input.shape=5; expected the shape of one example",
    "model=mlp input.shape=[5]": "on a batch of 8: RuntimeError",
    "model=mlp input.dtype=int": "input.dtype='int'; expected one of float32",
    "model=mlp batch=0": "batch=0; expected an integer of at least 1",
    "model=mlp memory=24XB": "memory='24XB'; expected bytes with a unit such as 24GiB",
    "model=mlp memory=24": "memory=24 is 24 bytes; expected a unit, binary or decimal, such "
    "as memory=24GiB",
    "model=mlp memory=0": "memory=0; expected bytes with a unit",
    "model=mlp optimizer=adamm": "optimizer='adamm'; expected one of adamw, adam, sgd, none",
    "model=mlp optimizer_arguments={speed:1}": "unexpected keyword argument 'speed'; it "
    "takes lr, betas",
    "model=mlp loss=own": "has no loss; expected one that comes with labels",
    "model=mlp mode=fast": "mode='fast'; expected one of train, forward",
    "model=mlp checkpoint=[head]": "no module is called head",
    "model=mlp nokey=3": "unknown key nokey; expected one of model, ",
    "inputs.text.high=9": "inputs has no keys yet; expected a + before a new one, '+inputs.text",
    "model=mlp model.arguments.widht=3": "; did you mean width?",
    "model.path=torch.nn.Dropout input.shape=[3]": "has no parameter that requires a gradient",
    "model.path=torch.nn.Dropout input.shape=[3] optimizer=none": "the loss depends on no "
    "parameter",
    f"model.path={HERE}.ReadsInForward input.shape=[3]": "execute=true measures it on real ones",
    "model=mlp batch=1000000000 execute=true": "are available; take a smaller batch",
}


@pytest.mark.parametrize("given", WRONG)
def test_what_is_wrong_is_told_in_a_line(given: str, tmp_path: Path) -> None:
    """A wrong path, argument, key, shape, memory or model gives one line that says what to do;
    the exit code is 2, and no file is left.
    """
    code, _, err = run_main(*given.split(), "hydra.run.dir=a/run", cwd=tmp_path)
    assert code == 2
    assert WRONG[given] in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_memory_that_holds_no_example(tmp_path: Path) -> None:
    """Where not even one example fits, the report is written, the need is said, and the exit code
    is 2.
    """
    code, out, err = run_main(*SMALL, "memory=1kB", "hydra.run.dir=run", cwd=tmp_path)
    assert code == 2
    assert "Not even one example fits" in out
    assert "cannot hold a batch of 1" in err
    assert (tmp_path / "run" / "report.html").exists()


def test_a_memory_that_holds_everything(tmp_path: Path) -> None:
    """Where every batch that is tried fits, that is said."""
    code, out, _ = run_main(
        *SMALL, "mode=forward", "memory=1TiB", "hydra.run.dir=run", cwd=tmp_path
    )
    assert code == 0
    assert f"every batch that was tried, up to {LARGEST_BATCH:,}" in out


def test_the_command_line_answers_without_pytorch() -> None:
    """Parsing the command line loads no PyTorch."""
    code = (
        "import sys, experiments.profile_module; "
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_presets_are_the_models_that_they_name() -> None:
    """GPT-2, BERT, ViT and ResNet-50 have the parameters that they are known for, counted without
    making them.
    """
    expected = {"gpt2": 124_439_808, "bert": 109_483_778, "vit": 86_567_656, "resnet": 25_557_032}
    for model, parameters in expected.items():
        module = FakeModule(config_of(f"model={model}")).module
        assert sum(parameter.numel() for parameter in module.parameters()) == parameters, model


def test_the_commands_of_the_page() -> None:
    """Every command that docs/modules.md shows is one that the command line takes, and every key
    has its row.
    """
    page = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    commands = [
        shlex.split(line)
        for line in page.splitlines()
        if line.startswith("    python -m experiments.profile_module ")
    ]
    assert len(commands) >= 7
    for command in commands:
        config_of(*command[3:])
    rows = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w.]+)`", line.split("|")[1])
    }
    assert {name.split(".")[0] for name in rows} == set(KEYS)


def test_import_paths() -> None:
    """A path names a class, or what hangs on one; what is not there is named with the
    nearest name.
    """
    assert imported("model.path", "torch.nn.Linear") is nn.Linear
    assert imported("model.path", "torch.nn.Linear.forward") is nn.Linear.forward
    with pytest.raises(ConfigError, match="torch has no nnn; did you mean nn"):
        imported("model.path", "torch.nnn.Linear")


def test_the_step_is_written_for_other_viewers(tmp_path: Path) -> None:
    """With trace=true there are files for Perfetto and for memory_viz; without it, none."""
    for asked, there in (("trace=true", True), ("trace=false", False)):
        code, _, err = run_main(
            *SMALL, asked, "plans=false", f"hydra.run.dir={there}", cwd=tmp_path
        )
        assert code == 0, err
        written = {path.name for path in (tmp_path / str(there)).iterdir()}
        assert ({"trace.json", "memory.pickle"} <= written) == there
