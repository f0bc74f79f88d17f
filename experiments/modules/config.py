"""The door of `experiments.profile_module`: its keys as typed values, with every wrong one told in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.errors import ConfigError
from experiments.keys import MOST_THREADS, boolean, choice, known_keys, mapping, positive, size

MODES = ("train", "forward")
LOSSES = ("auto", "own", "mean", "sum", "cross_entropy")
FLOATS = ("float32", "float64", "bfloat16", "float16")
DTYPES = (*FLOATS, "int64", "int32", "uint8", "bool")
OPTIMIZERS = {"adamw": "torch.optim.AdamW", "adam": "torch.optim.Adam", "sgd": "torch.optim.SGD"}
KEYS = (
    "model", "batch", "input", "inputs", "loss", "mode", "optimizer", "optimizer_arguments", "dtype", "autocast", "checkpoint", "memory",
    "execute", "repeats", "threads", "depth", "plans",
)  # fmt: skip
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class InputSpec:
    """One example of an argument: its name (None: the first), its shape without the batch, its dtype; whole numbers are drawn below `high`."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    high: int


@dataclass(frozen=True)
class ModuleConfig:
    """What is to be measured. `memory_bytes` None asks for no verdict, `depth` None for as many levels as are readable."""

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
    memory_bytes: int | None
    execute: bool
    repeats: int
    threads: int
    depth: int | None
    plans: bool = True


def module_config(given: Mapping[str, Any]) -> ModuleConfig:
    """The typed config of a plain mapping. Raises ConfigError, one line, for an unknown key and for any value that is not of its kind."""
    known_keys("", given, KEYS)
    model = mapping("model", given.get("model"))
    known_keys("model.", model, ("path", "config", "arguments"))
    if model.get("path") is None:
        raise ConfigError(
            "no model is given; expected a preset such as model=gpt2, or an import path such as model.path=torch.nn.Linear"
        )
    mode = choice("mode", given.get("mode", "train"), MODES)
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
        memory_bytes=None if given.get("memory") is None else size("memory", given["memory"]),
        execute=boolean("execute", given.get("execute", False)),
        repeats=positive("repeats", given.get("repeats", 3)),
        threads=positive("threads", given.get("threads", 1), MOST_THREADS),
        depth=None if given.get("depth") is None else positive("depth", given["depth"]),
        plans=boolean("plans", given.get("plans", True)),
    )


def _path(key: str, value: Any) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise ConfigError(f"{key}={value!r}; expected an import path such as torch.nn.Linear")
    return value


def _named(key: str, value: Any) -> dict[str, Any]:
    """Keyword arguments."""
    return {str(name): argument for name, argument in mapping(key, value).items()}


def _optimizer(value: Any) -> str | None:
    """The import path of an optimiser; None for none."""
    if value is None or value == "none":
        return None
    if isinstance(value, str) and "." in value:
        return _path("optimizer", value)
    if value not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer={value!r}; expected one of {', '.join(OPTIMIZERS)}, none, or an import path such as torch.optim.RMSprop"
        )
    return OPTIMIZERS[value]


def _patterns(value: Any) -> tuple[str, ...]:
    """Names of modules; those of a sequence are numbers."""
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
            "no input is given; expected the shape of one example, such as input.shape=[16,64], or several by name, "
            "such as 'inputs={input_ids: {shape: [16], dtype: int64, high: 100}}'"
        )
    return tuple(specs)


def _input(key: str, name: str | None, given: Mapping[str, Any]) -> InputSpec:
    known_keys(f"{key}.", given, ("shape", "dtype", "high"))
    shape = given.get("shape")
    if not isinstance(shape, list | tuple):
        raise ConfigError(
            f"{key}.shape={shape!r}; expected the shape of one example without the batch, such as [16,64], or [] for a number"
        )
    return InputSpec(
        name=name,
        shape=tuple(positive(f"{key}.shape", size) for size in shape),
        dtype=choice(f"{key}.dtype", given.get("dtype") or "float32", DTYPES),
        high=positive(f"{key}.high", given.get("high") or 2),
    )
