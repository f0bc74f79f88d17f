"""The keys of `experiments.profile_module` as typed values; wrong ones are errors of one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.errors import ConfigError
from experiments.keys import MOST_THREADS, boolean, choice, known_keys, mapping, positive, size
from experiments.text import counted
from profiler.pytorch.attention import KERNELS
from profiler.units import human_bytes

MODES = ("train", "forward")
LOSSES = ("auto", "own", "mean", "sum", "cross_entropy", "cross_entropy_last")
FLOATS = ("float32", "float64", "bfloat16", "float16")
DTYPES = (*FLOATS, "int64", "int32", "uint8", "bool")
DEVICES = ("cpu", "cuda")
OPTIMIZERS = {"adamw": "torch.optim.AdamW", "adam": "torch.optim.Adam", "sgd": "torch.optim.SGD"}
KEYS = (
    "model", "batch", "input", "inputs", "loss", "mode", "optimizer", "optimizer_arguments",
    "dtype", "autocast", "checkpoint", "device", "attention", "memory", "step", "execute",
    "repeats", "threads", "depth", "plans", "trace",
)  # fmt: skip
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_STEP = re.compile(r"(?:.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*")


@dataclass(frozen=True)
class Memory:
    """A memory in bytes, and the text that it was given as, such as 24 GB."""

    nbytes: int
    text: str

    def __str__(self) -> str:
        binary = human_bytes(self.nbytes)
        return self.text if self.text.endswith("iB") else f"{self.text} ({binary})"


@dataclass(frozen=True)
class InputSpec:
    """One example of an argument: its name (None: the first), shape without the batch, and dtype.

    Whole numbers are drawn below `high`.
    """

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    high: int


@dataclass(frozen=True)
class ModuleConfig:
    """What is to be measured.

    Without a `memory` no verdict is given; without a `depth` as many levels as are readable. `step`
    is the user's own, as `file.py:function` or `package.module:function`.
    """

    path: str
    config_path: str | None
    arguments: dict[str, Any]
    batch: int
    inputs: tuple[InputSpec, ...]
    loss: str
    mode: str
    optimizer: str | None
    optimizer_arguments: dict[str, Any]
    dtype: str
    autocast: str | None
    checkpoint: tuple[str, ...]
    memory: Memory | None
    execute: bool
    repeats: int
    threads: int
    depth: int | None
    plans: bool = True
    trace: bool = False
    step: str | None = None
    device: str = "cpu"
    attention: str | None = None

    @property
    def memory_bytes(self) -> int | None:
        """Return the bytes that the step may take, None where no memory was given."""
        return None if self.memory is None else self.memory.nbytes


def module_config(given: Mapping[str, Any]) -> ModuleConfig:
    """Return the typed config of a plain mapping.

    Raises ConfigError, one line, for an unknown key and for any value of the wrong kind.
    """
    known_keys("", given, KEYS)
    model = mapping("model", given.get("model"))
    known_keys("model.", model, ("path", "config", "arguments"))
    if model.get("path") is None:
        raise ConfigError(
            "no model is given; expected a preset such as model=gpt2, or an import path such as "
            "model.path=torch.nn.Linear"
        )
    mode = choice("mode", given.get("mode", "train"), MODES)
    device = choice("device", given.get("device", "cpu"), DEVICES)
    execute = boolean("execute", given.get("execute", False))
    if device == "cuda" and execute:
        raise ConfigError(
            "execute=true with device=cuda; expected one of them: a card's memory is predicted, "
            "and what is executed runs on the CPU"
        )
    return ModuleConfig(
        path=_path("model.path", model["path"]),
        config_path=None if model.get("config") is None else _path("model.config", model["config"]),
        arguments=_named("model.arguments", model.get("arguments")),
        batch=positive("batch", given.get("batch", 8)),
        inputs=_inputs(given),
        loss=choice("loss", given.get("loss", "auto"), LOSSES),
        mode=mode,
        optimizer=_optimizer(given.get("optimizer", "adamw")) if mode == "train" else None,
        optimizer_arguments=_named("optimizer_arguments", given.get("optimizer_arguments")),
        dtype=choice("dtype", given.get("dtype", "float32"), FLOATS),
        autocast=None
        if given.get("autocast") is None
        else choice("autocast", given["autocast"], ("bfloat16", "float16")),
        checkpoint=_patterns(given.get("checkpoint")),
        memory=None if given.get("memory") is None else _memory(given["memory"]),
        execute=execute,
        repeats=positive("repeats", given.get("repeats", 3)),
        threads=positive("threads", given.get("threads", 1), MOST_THREADS),
        depth=None if given.get("depth") is None else positive("depth", given["depth"]),
        plans=boolean("plans", given.get("plans", True)),
        trace=boolean("trace", given.get("trace", False)),
        step=_step(given.get("step"), mode),
        device=device,
        attention=_attention(given.get("attention"), device),
    )


def _memory(value: Any) -> Memory:
    """Return a memory with its unit; a bare number is refused, since it would be bytes."""
    nbytes = size("memory", value)
    if not isinstance(value, str):
        raise ConfigError(
            f"memory={value!r} is {counted(nbytes, 'byte')}; expected a unit, binary or decimal, "
            f"such as memory={value}GiB or memory={value}GB"
        )
    number = value.strip().rstrip("KMGTkiB").rstrip()
    return Memory(nbytes, f"{number} {value.strip().removeprefix(number).strip()}")


def _attention(value: Any, device: str) -> str | None:
    """Return the kernel that is forced on a card; None for the one that it would take."""
    if value is None:
        return None
    if device != "cuda":
        raise ConfigError(f"attention={value} with device={device}; expected device=cuda")
    return choice("attention", value, KERNELS)


def _step(value: Any, mode: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _STEP.fullmatch(value):
        raise ConfigError(f"step={value!r}; expected a function such as train.py:train_step")
    if mode != "train":
        raise ConfigError(f"step={value} with mode={mode}; expected mode=train")
    return value


def _path(key: str, value: Any) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise ConfigError(f"{key}={value!r}; expected an import path such as torch.nn.Linear")
    return value


def _named(key: str, value: Any) -> dict[str, Any]:
    """Return keyword arguments."""
    return {str(name): argument for name, argument in mapping(key, value).items()}


def _optimizer(value: Any) -> str | None:
    """Return the import path of an optimiser; None for none."""
    if value is None or value == "none":
        return None
    if isinstance(value, str) and "." in value:
        return _path("optimizer", value)
    if value not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer={value!r}; expected one of {', '.join(OPTIMIZERS)}, none, or an import "
            "path such as torch.optim.RMSprop"
        )
    return OPTIMIZERS[value]


def _patterns(value: Any) -> tuple[str, ...]:
    """Return names of modules; those of a sequence are numbers."""
    items = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | int) or item == "":
            raise ConfigError(
                f"checkpoint={value!r}; expected names of modules such as '[\"transformer.h.*\"]'"
            )
    return tuple(str(item) for item in items)


def _inputs(given: Mapping[str, Any]) -> tuple[InputSpec, ...]:
    first = mapping("input", given.get("input"))
    named = mapping("inputs", given.get("inputs"))
    specs = [] if first.get("shape") is None else [_input("input", None, first)]
    specs += [
        _input(f"inputs.{name}", str(name), mapping(f"inputs.{name}", spec))
        for name, spec in named.items()
        if spec is not None
    ]
    if not specs:
        raise ConfigError(
            "no input is given; expected the shape of one example, such as input.shape=[16,64], "
            "or several by name, "
            "such as 'inputs={input_ids: {shape: [16], dtype: int64, high: 100}}'"
        )
    return tuple(specs)


def _input(key: str, name: str | None, given: Mapping[str, Any]) -> InputSpec:
    known_keys(f"{key}.", given, ("shape", "dtype", "high"))
    shape = given.get("shape")
    if not isinstance(shape, list | tuple):
        raise ConfigError(
            f"{key}.shape={shape!r}; expected the shape of one example without the batch, such "
            "as [16,64], or [] for a number"
        )
    return InputSpec(
        name=name,
        shape=tuple(positive(f"{key}.shape", size) for size in shape),
        dtype=choice(f"{key}.dtype", given.get("dtype") or "float32", DTYPES),
        high=positive(f"{key}.high", given.get("high") or 2),
    )
