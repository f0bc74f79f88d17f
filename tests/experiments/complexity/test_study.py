"""`tapemeasure complexity`: models measured at small shapes, formulas checked at full size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings, strategies as st
from omegaconf import OmegaConf

from experiments.complexity.config import StudyConfig, Variable, study_config
from experiments.complexity.formulas import Complexity, read_complexity
from experiments.complexity.journal import JOURNAL, ShapeJournal
from experiments.complexity.measuring import Bench, Row
from experiments.complexity.moments import Call, Run
from experiments.complexity.report import remarks, table_of, write_report
from experiments.complexity.running import studied
from experiments.complexity.study import complexity_of
from experiments.errors import ConfigError, ModuleError, ResultsError
from tests.support.paths import ROOT


def study_of(vary: str, *arguments: str) -> StudyConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        plain: Any = OmegaConf.to_container(
            compose("complexity", [f"vary={vary}", *arguments]), resolve=False
        )
    return study_config(plain)


MLP = ("{layers: L, width: d, batch: b}", "model=mlp", "model.arguments.classes=3")


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Complexity, Path]:
    """The formulas of an MLP with its full size, and the directory of its rows."""
    directory = tmp_path_factory.mktemp("mlp")
    found, journal = studied(study_of(*MLP), directory)
    write_report(found, journal.rows, directory)
    return found, directory


def test_an_mlp(mlp: tuple[Complexity, Path]) -> None:
    """All is decided, with three times as many rows held out; known formulas are met."""
    found = mlp[0]
    assert found.full == (8, 1024, 8)
    assert found.found["peak_bytes"].lowest == (1, 1, 1)
    # Narrower than its 3 classes, another moment is the peak of inference.
    assert found.found["inference_peak_bytes"].lowest == (1, 3, 1)
    for name, one in found.found.items():
        assert one.formula is not None, (name, one.reason)
        assert one.held_out >= 3 * one.fitted
        assert one.formula(*found.full) == one.full
    written = {name: str(one.formula) for name, one in found.found.items()}
    assert written["parameter_bytes"] == "4*L*d**2 + 4*L*d + 12*d + 12"
    # Forward, and backward for weights and inputs: the first layer's input needs no gradient.
    assert written["matmul_flops"] == "6*L*b*d**2 - 2*b*d**2 + 18*b*d"
    assert written["kept_bytes"] == "8*L*b*d + 12*b + 8"
    assert found.found["operations"].formula is not None
    assert found.found["operations"].formula.order == "O(L·d²·b)"


def test_a_size_far_beyond_the_rows(mlp: tuple[Complexity, Path]) -> None:
    """Another size, more than 100 times as large, is predicted to the last byte."""
    found = mlp[0]
    shape = (20, 2000, 5000)
    row = Bench(study_of(*MLP), fake=True).row(shape)
    at = dict(zip(found.letters, shape, strict=True))
    assert found.formula("operations", **at) == row.sums["operations"]
    assert found.formula("peak_bytes", **at) == row.runs["training"].peak
    assert found.formula("inference_peak_bytes", **at) == row.runs["inference"].peak


def test_the_files(mlp: tuple[Complexity, Path]) -> None:
    """The JSON gives the formulas back; the table has a row for each; the figure is drawn."""
    found, directory = mlp
    assert read_complexity(directory / "complexity.json") == found
    assert list(table_of(found)["quantity"]) == list(found.found)
    assert (directory / "complexity.svg").exists()
    lines = remarks(found)
    assert any("to the last operation and byte" in line for line in lines)
    assert any(line.startswith("peak_bytes at full size is that of ") for line in lines)
    (directory / "other.json").write_text("{}")
    with pytest.raises(ResultsError, match="no file of formulas"):
        read_complexity(directory / "other.json")


def test_the_largest_batch(mlp: tuple[Complexity, Path]) -> None:
    """The answer fits and the next one does not; at most nothing fits."""
    found, memory = mlp[0], 2**30
    largest = found.largest("b", memory)
    assert found.formula("needed_bytes", b=largest) <= memory
    assert found.formula("needed_bytes", b=largest + 1) > memory
    assert found.largest("b", 1000) == 0
    with pytest.raises(ConfigError, match="letter 'x' given; expected one of L, d, b"):
        found.formula("needed_bytes", x=1)
    with pytest.raises(ConfigError, match="quantity 'seconds' given"):
        found.formula("seconds")


def test_a_study_resumes(mlp: tuple[Complexity, Path], tmp_path: Path) -> None:
    """Rows are read back, a torn last line is measured again, those of another study are left."""
    found, directory = mlp
    content = (directory / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content[:-20])
    study, measured = study_of(*MLP), []

    def measure(shape: tuple[int, ...]) -> Row:
        measured.append(shape)
        return Bench(study, fake=False).row(shape)

    journal = ShapeJournal(tmp_path / JOURNAL, study, measure)
    again = complexity_of(study, journal.row, journal.row)
    assert len(measured) == 1
    assert {name: one.formula for name, one in again.found.items()} == {
        name: one.formula for name, one in found.found.items()
    }
    other = study_of(*MLP, "optimizer=sgd")
    assert ShapeJournal(directory / JOURNAL, other, measure).rows == []


def test_disturbances_are_noticed(mlp: tuple[Complexity, Path]) -> None:
    """A row that is off by one byte, or a full size that is, leaves what it touches undecided."""
    study = study_of(*MLP)
    journal = ShapeJournal(mlp[1] / JOURNAL, study, Bench(study, fake=False).row)

    def off_by_one(row: Row) -> Row:
        runs = {
            name: replace(run, live=tuple(one + (one == run.peak) for one in run.live))
            for name, run in row.runs.items()
        }
        return replace(row, runs=runs, sums={name: n + 1 for name, n in row.sums.items()})

    def disturbed(shape: tuple[int, ...]) -> Row:
        row = journal.row(shape)
        return off_by_one(row) if shape == (4, 5, 3) else row

    found = complexity_of(study, disturbed, journal.row).found
    assert [name for name, one in found.items() if one.formula is not None] == []

    def wrong_at_full_size(shape: tuple[int, ...]) -> Row:
        row = journal.row(shape)
        return off_by_one(row) if shape == study.full else row

    found = complexity_of(study, journal.row, wrong_at_full_size).found
    assert [name for name, one in found.items() if one.formula is not None] == []
    assert all("is predicted, the formula gives" in one.reason for one in found.values())


def test_the_step_of_an_image_size_is_found() -> None:
    """With patches of 16, a step of 14 looks right in the first rows, and no longer further on."""
    study = StudyConfig({}, (Variable("image_size", "h", 224, None, ()),), check=False)

    def measure(shape: tuple[int, ...]) -> Row:
        patches = shape[0] // 16
        if not patches:
            raise ModuleError("the image is smaller than a patch")
        run = Run((Call("forward", "head", "mm"),), (8 * patches**2,))
        sums = {"operations": patches**2, "given_bytes": 0}
        return Row(shape, sums, {"training": run, "inference": run})

    near = [measure((14 * k,)).sums["operations"] for k in range(3, 9)]
    assert near == [(k - 1) ** 2 for k in range(3, 9)]
    found = complexity_of(study, measure, measure)
    assert found.units == (16,)
    assert str(found.found["operations"].formula) == "h**2/256"
    assert str(found.found["peak_bytes"].formula) == "h**2/32"


def of_two_letters(live: Callable[[int, int], int]) -> Callable[[tuple[int, ...]], Row]:
    """A step with one call, whose live bytes and operations are given by L and b."""

    def measure(shape: tuple[int, ...]) -> Row:
        run = Run((Call("forward", "head", "mm"),), (live(*shape),))
        sums = {"operations": shape[0] ** 2 * shape[1], "given_bytes": 0}
        return Row(shape, sums, {"training": run, "inference": run})

    return measure


def two_letters(full: tuple[int, int], check: bool) -> StudyConfig:
    names, letters = ("layers", "batch"), ("L", "b")
    return StudyConfig(
        {},
        tuple(
            Variable(name, letter, size, None, ())
            for name, letter, size in zip(names, letters, full, strict=True)
        ),
        check,
    )


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 99), min_size=4, max_size=4), st.integers(1, 99))
def test_a_kernel_that_switches_limits_the_range(numbers: list[int], more: int) -> None:
    """A batch of one takes another kernel: the formula says from which batch on it holds, and a
    full size below that does not refute it.
    """
    a, b, c, d = numbers

    def live(layers: int, batch: int) -> int:
        return a * layers**2 * batch + b * layers * batch + c * batch + d + more * (batch == 1)

    measure = of_two_letters(live)
    for full in ((50, 8), (50, 1)):
        found = complexity_of(two_letters(full, check=True), measure, measure).found
        formula = found["peak_bytes"].formula
        assert formula is not None
        assert formula(1000, 1000) == live(1000, 1000)
        assert found["peak_bytes"].lowest == (1, 2)
        assert found["operations"].lowest == (1, 1)
        said = "which holds from L=1, b=2 on" in found["peak_bytes"].reason
        assert said == (full == (50, 1))


def test_a_kernel_that_switches_far_away_is_noticed() -> None:
    """More layers than all rows but one have take a workspace: nothing is decided of the peak."""
    measure = of_two_letters(lambda layers, batch: layers * batch + (layers > 20))
    found = complexity_of(two_letters((16, 8), check=False), measure, measure).found
    assert found["operations"].formula is not None
    assert found["peak_bytes"].formula is None
    assert "L=33" in found["peak_bytes"].reason


GPT2 = (
    "{n_layer: L, n_embd: d, sequence: s}", "model=gpt2", "model.arguments.vocab_size=61",
    "model.arguments.n_head=4", "model.arguments.n_embd=64", "model.arguments.n_positions=64",
    "model.arguments.n_layer=6", "batch=2", 'checkpoint=["transformer.h.*"]',
)  # fmt: skip


@pytest.mark.slow
def test_gpt2(tmp_path: Path) -> None:
    """Everything is decided, peaks and checkpointing too; known formulas are met."""
    found = studied(study_of(*GPT2), tmp_path)[0]
    assert found.units == (1, 4, 1)  # a width is a multiple of the heads
    assert [name for name, one in found.found.items() if one.formula is None] == []
    written = {name: str(one.formula) for name, one in found.found.items()}
    # 12·L·d² + 13·L·d + (vocabulary + positions + 2)·d parameters (Radford et al. 2019).
    assert written["parameter_bytes"] == f"48*L*d**2 + 52*L*d + {4 * (61 + 64 + 2)}*d"
    # 6 flops for each parameter of the layers and each of 2·s tokens (Kaplan et al. 2020), the
    # scores and the weighted sum of attention (12·L·d·s²·b), and the head.
    assert written["matmul_flops"] == f"{6 * 12 * 2}*L*d**2*s + {12 * 2}*L*d*s**2 + 732*d*s"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "elements", "scores"),
    [
        ("", 17 + 12 + 1, 3),
        ("activation_function=gelu", 17 + 1, 3),
        ("activation_function=gelu,resid_pdrop=0.0", 17 - 1, 3),
    ],
)
def test_what_a_layer_of_gpt2_keeps(arguments: str, elements: int, scores: int) -> None:
    """Korthikanti et al. (2022, equation 1): 34·s·b·d + 5·a·s²·b bytes of 16 bits, 17 elements and
    2.5. GELU as a formula keeps three matrices of 4·d more; masks have four bytes here, not one.
    Without dropout of residuals both agree but for the mask of the scores. Of the two layer norms
    four numbers for each token are kept, which the paper leaves out.
    """
    given = [f"++model.arguments.{one}" for one in filter(None, arguments.split(","))]
    bench = Bench(study_of(GPT2[0], *GPT2[1:-1], *given), fake=False)
    d, s, b, a = 24, 5, 2, 4
    kept = [bench.row((layers, d, s)).sums["kept_bytes"] for layers in (2, 3)]
    assert kept[1] - kept[0] == 4 * b * s * (elements * d + scores * a * s + 4)


RESNET = (
    "{hidden_sizes.0: w, pixel_values.1: h, batch: b}", "model=resnet",
    "model.arguments.hidden_sizes=[16,24]", "model.arguments.depths=[2,1]",
    "model.arguments.embedding_size=8", "model.arguments.num_labels=5",
)  # fmt: skip


@pytest.mark.slow
def test_resnet(tmp_path: Path) -> None:
    """Both steps are found, and all is decided and equal at full size."""
    found = studied(study_of(*RESNET), tmp_path)[0]
    assert found.units == (4, 8, 1)  # bottlenecks of a quarter, three halvings of the image
    for name, one in found.found.items():
        assert one.formula is not None, (name, one.reason)
        assert one.held_out >= 3 * one.fitted
        assert one.formula(*found.full) == one.full
    assert str(found.found["parameter_bytes"].formula) == "15*w**2/2 + 192*w + 7620"


VIT = (
    "{num_hidden_layers: L, image_size: h}", "model=vit", "model.arguments.hidden_size=24",
    "model.arguments.num_attention_heads=2", "model.arguments.intermediate_size=32",
    "model.arguments.num_labels=5", "model.arguments.num_hidden_layers=6", "batch=2",
)  # fmt: skip


@pytest.mark.slow
def test_vit(tmp_path: Path) -> None:
    """The patch is found as the step of the image; attention grows with the fourth power of it."""
    found = studied(study_of(*VIT), tmp_path)[0]
    assert found.units == (1, 16)
    for name, one in found.found.items():
        assert one.formula is not None, (name, one.reason)
        assert one.held_out >= 3 * one.fitted
        assert one.formula(*found.full) == one.full
    assert found.found["operations"].formula is not None
    assert found.found["operations"].formula.order == "O(L·h⁴)"


TAGGER = """
from torch import nn


class Tagger(nn.Module):
    def __init__(self, words, width, layers, tags):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, tags)

    def forward(self, text):
        return self.head(self.lstm(self.words(text))[0])
"""


@pytest.mark.slow
def test_an_lstm_in_a_file_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the workspace of oneDNN is decided and equal at full size; that one is named."""
    (tmp_path / "tagger.py").write_text(TAGGER)
    monkeypatch.syspath_prepend(tmp_path)
    study = study_of(
        "{layers: L, width: d, sequence: s}", "model.path=tagger.Tagger", "batch=3", "loss=mean",
        "model.arguments={words: 20, width: 64, layers: 4, tags: 7}",
        "inputs={text: {shape: [32], dtype: int64, high: 20}}",
    )  # fmt: skip
    found = studied(study, tmp_path)[0].found
    assert [name for name, one in found.items() if one.formula is None] == ["workspace_bytes"]
    for one in found.values():
        assert one.formula is None or one.formula(*study.full) == one.full
    # Four gates of an input's and a hidden state's weights, and a bias for each of the two.
    assert str(found["parameter_bytes"].formula) == "32*L*d**2 + 32*L*d + 108*d + 28"
    assert found["workspace_bytes"].full == 4 * 4096 * (26 + 6 + 5 * 13)  # gates, outputs, states
    assert "without the workspace of mkldnn_rnn_layer" in found["peak_bytes"].reason


def test_wrong_keys() -> None:
    """Each is an error in one line that says what is expected."""
    wrong = {
        "{n_embed: d}": "varies n_embed, which is None; expected batch, sequence",
        "{width: d, batch: d}": "vary has the letters d, d; expected each one once",
        "{width: E}": "vary.width='E'; expected a letter",
        "{width: {letter: d, values: [2]}}": "expected at least three",
        "{width: {letter: d, step: 2}}": "step",
        "{sequence: s}": "varies sequence, which is None",
    }
    for vary, message in wrong.items():
        with pytest.raises(ConfigError, match=message):
            study_of(vary, "model=mlp")
    with pytest.raises(ConfigError, match="vary is not given"):
        study_of("null", "model=mlp")


@pytest.mark.slow
def test_a_width_that_no_input_follows_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An argument that the input's size must follow is refused with the way to say so; PyTorch's
    own account of each op that failed is not printed.
    """
    asked = (
        *("model.path=torch.nn.Linear", "+model.arguments.in_features=8"),
        *("+model.arguments.out_features=3", "input.shape=[8]"),
    )
    with pytest.raises(ConfigError, match="let an input follow an argument"):
        studied(study_of("{in_features: d, batch: b}", *asked), tmp_path)
    assert caplog.records == []


def test_variables_of_every_kind() -> None:
    """Arguments, items of lists, dimensions of inputs, the sequence: what refers to one follows."""
    study = study_of("{hidden_sizes.0: w, pixel_values.1: h, batch: b}", "model=resnet", "batch=4")
    assert study.full == (256, 224, 4)
    at = study.at((64, 32, 2))
    assert at.arguments["hidden_sizes"] == [64, 512, 1024, 2048]
    assert at.inputs[0].shape == (3, 32, 32)
    assert at.batch == 2
    assert study_of("{pixel_values.1: h}", "model=resnet").at((32,)).inputs[0].shape == (3, 32, 32)
    gpt2 = study_of("{sequence: s, n_positions: p}", "model=gpt2")
    assert [spec.shape for spec in gpt2.at((7, 9)).inputs] == [(7,), (7,)]
    positions = study_of("{n_positions: s}", "model=gpt2")
    assert [spec.shape for spec in positions.at((9,)).inputs] == [(9,), (9,)]
    assert json.dumps(study.plain)  # at() leaves the study as it was
    assert (
        study.full
        == study_of(
            "{hidden_sizes.0: w, pixel_values.1: h, batch: b}", "model=resnet", "batch=4"
        ).full
    )
