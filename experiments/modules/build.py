"""A module from its import path and keyword arguments, on real or on fake tensors.

A fake module is made under PyTorch's fake tensor mode; where its constructor reads values of
tensors, on the meta device; where that does not do either, for real, once. In the latter two its
tensors are then replaced by fake ones of the same shapes and strides.

Bound: fake tensors stand for the CPU's, so the kernels chosen (of attention, say) are the CPU's.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.utils.checkpoint import checkpoint

from autodiff.errors import TapemeasureError
from experiments.cli.loading import without_collecting
from experiments.errors import ConfigError, ModuleError, one_line
from experiments.modules.config import ModuleConfig


def imported(key: str, path: str) -> Any:
    """Return what an import path names; raise ConfigError that says which part is missing."""
    os.environ.setdefault(
        "TRANSFORMERS_VERBOSITY", "error"
    )  # random weights are what was asked for
    parts = path.split(".")
    found: Any = None
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            with without_collecting():
                found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                continue
            raise ConfigError(
                f"{key}={path}: {name} needs the module {error.name}, which is not installed"
            ) from error
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{key}={path}: importing {name} failed: {one_line(error)}"
            ) from error
        for part in parts[length:]:
            try:
                with without_collecting():  # a lazy package imports now
                    found = getattr(found, part)
            except (AttributeError, ImportError) as error:
                near = difflib.get_close_matches(part, dir(found), n=1)
                hint = f"did you mean {near[0]}?" if near else "is it spelt right?"
                raise ConfigError(f"{key}={path}: {name} has no {part}; {hint}") from error
            name = f"{name}.{part}"
        return found
    if parts[0] == "transformers":
        raise ConfigError(
            f"{key}={path}: transformers is not installed; "
            "install the extra: pip install 'tapemeasure[models]'"
        )
    raise ConfigError(
        f"{key}={path}: there is no module {parts[0]}; "
        "expected an installed package or a file of the working directory"
    )


def own_step(path: str) -> Callable[[torch.nn.Module, Any, Any], Any]:
    """Return a step of the user's, `file.py:function` or `package.module:function`.

    It takes the module and the batch, and the optimiser where it has a third parameter. Raises
    ConfigError where there is no such function.
    """
    place, name = path.rsplit(":", 1)
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert spec is not None
        assert spec.loader is not None
        source = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(source)
        except (Exception, SystemExit) as error:
            raise ConfigError(f"step={path}: {place} cannot be read: {one_line(error)}") from error
        found = getattr(source, name, None)
    else:
        found = imported("step", f"{place}.{name}")
    if not callable(found):
        raise ConfigError(
            f"step={path}: {place} has no function {name}; expected one, given model and batch"
        )
    takes = inspect.signature(found).parameters.values()
    if (
        len([one for one in takes if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)])
        > 2
    ):
        return lambda module, batch, optimizer: found(module, batch, optimizer)
    return lambda module, batch, _: found(module, batch)


def make_module(config: ModuleConfig) -> torch.nn.Module:
    """Return the module, made under the current modes and devices.

    Raises what its constructor raises, and ConfigError for a wrong call.
    """
    maker = imported("model.path", config.path)
    config_class = (
        getattr(maker, "config_class", None)
        if config.config_path is None
        else imported("model.config", config.config_path)
    )
    if config_class is None:
        module = _called(config.path, maker, config.arguments)
    else:
        _refuse_unknown(config_class, config.arguments)
        module = _called(config.path, maker, {}, config_class(**config.arguments))
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"model.path={config.path} makes a {type(module).__name__}; expected what makes a "
            "torch.nn.Module"
        )
    return _prepared(module, config)


def _called(path: str, maker: Any, arguments: dict[str, Any], *args: Any) -> Any:
    """Return what a maker makes of its arguments; a wrong call names the arguments it takes."""
    if not callable(maker):
        raise ConfigError(
            f"{path} is a {type(maker).__name__}; expected a class or a function that makes a "
            "torch.nn.Module"
        )
    with suppress(ValueError):  # some builtins do not tell their arguments
        signature = inspect.signature(maker)
        try:
            signature.bind(*args, **arguments)
        except TypeError as error:
            takes = ", ".join(str(one) for one in signature.parameters) or "nothing"
            raise ConfigError(
                f"{path}: {error}; it takes {takes}; give them by 'model.arguments={{name: value}}'"
            ) from error
    return maker(*args, **arguments)


def _refuse_unknown(config_class: Any, arguments: dict[str, Any]) -> None:
    """Raise ConfigError for a key that a config class would accept without using it."""
    try:
        example = config_class()
    except Exception:  # whatever a config class without defaults raises: it tells no keys
        return
    for key in arguments:
        if not hasattr(example, key):
            near = difflib.get_close_matches(key, vars(example), n=1)
            hint = f"did you mean {near[0]}?" if near else "is it spelt right?"
            raise ConfigError(
                f"model.arguments.{key}: {config_class.__name__} has no such key; {hint}"
            )


def _prepared(module: torch.nn.Module, config: ModuleConfig) -> torch.nn.Module:
    """Return the module in its dtype and mode, with its checkpointed parts wrapped."""
    if config.dtype != "float32":
        module = module.to(getattr(torch, config.dtype))
    lazy = next((name for name, one in module.named_parameters() if is_lazy(one)), None)
    if lazy is not None:
        raise ModuleError(
            f"{config.path} is lazy: {lazy} has no shape before a first batch; expected a module "
            "whose shapes are given, such as Linear instead of LazyLinear"
        )
    module.train(config.mode == "train")
    chosen: list[str] = []
    for name, part in module.named_modules():
        matches = any(fnmatchcase(name, pattern) for pattern in config.checkpoint)
        if (
            name
            and matches
            and not any(name.startswith(above + ".") for above in chosen)
            and _runs(part)
        ):
            chosen.append(name)
            part.forward = partial(checkpoint, part.forward, use_reentrant=False)
    for pattern in config.checkpoint:
        if not any(fnmatchcase(name, pattern) for name in chosen):
            names = [name for name, part in module.named_modules() if name and _runs(part)]
            near = difflib.get_close_matches(pattern, names, n=1) or names[:1]
            raise ConfigError(
                f"checkpoint: no module is called {pattern}; expected a name such as "
                f"{near[0] if near else '…'}, * for any part"
            )
    return module


def _runs(module: torch.nn.Module) -> bool:
    """Return whether a module has a forward of its own; a list of modules has none."""
    return not isinstance(
        module,
        torch.nn.ModuleList | torch.nn.ModuleDict | torch.nn.ParameterList | torch.nn.ParameterDict,
    )


def fake_module(config: ModuleConfig, mode: FakeTensorMode) -> tuple[torch.nn.Module, str]:
    """Return the module on fake tensors of the mode, and how it was made: fake, meta or real.

    Raises ConfigError, or ModuleError where none works.
    """
    try:
        with mode:
            return make_module(config), "fake"
    except TapemeasureError:
        raise
    except (Exception, SystemExit) as first:
        try:
            with torch.device("meta"):
                module, how = make_module(config), "meta"
        except ModuleError:
            raise
        except (Exception, SystemExit):  # a constructor raises what it likes: one way is left
            try:
                module, how = make_module(config), "real"
            except ModuleError:
                raise
            except (Exception, SystemExit) as error:
                raise ModuleError(f"{config.path} cannot be made: {one_line(error)}") from first
    _fake_in_place(module, mode)
    return module, how


def _fake_in_place(module: torch.nn.Module, mode: FakeTensorMode) -> None:
    """Replace each tensor of a module by a fake one of the CPU; shared ones stay shared."""
    made: dict[int, tuple[Any, Any]] = {}

    def fake(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if id(value) not in made:
                with mode:
                    like: Any = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype)
                if isinstance(value, torch.nn.Parameter):
                    like = torch.nn.Parameter(like, value.requires_grad)
                made[id(value)] = value, like
            return made[id(value)][1]
        if type(value) in (list, tuple):
            return type(value)(fake(one) for one in value)
        return {key: fake(one) for key, one in value.items()} if type(value) is dict else value

    for part in module.modules():
        for held in (part._parameters, part._buffers):
            held.update({name: fake(value) for name, value in held.items()})
        for name, value in list(vars(part).items()):
            if name not in ("_parameters", "_buffers", "_modules") and not callable(value):
                vars(part)[name] = fake(value)
