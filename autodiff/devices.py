"""The device of a run: where what no input gives is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from autodiff.errors import TapemeasureError, one_line

_CPU = torch.device("cpu")
_current: ContextVar[torch.device | None] = ContextVar("current_device", default=None)


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device by its name.

    Raises TapemeasureError where there is no such device on this machine.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except Exception as error:  # each backend raises a type of its own
        raise TapemeasureError(
            f"device {str(device)!r} cannot be used ({one_line(error)}); "
            f"expected a device of this machine: {', '.join(_usable())}"
        ) from None
    return found


def _usable() -> list[str]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return ["cpu", *([] if accelerator is None else [accelerator.type]), "meta"]


@contextmanager
def on_device_of(values: Iterable[Any]) -> Iterator[None]:
    """Let values that no input gives be made where the tensors among `values` are.

    Tensors may only differ in device where some are single elements on the CPU, so the first
    device that is not the CPU is that of the run.
    """
    devices = {value.device: None for value in values if isinstance(value, torch.Tensor)}
    token = _current.set(next((one for one in devices if one != _CPU), next(iter(devices), None)))
    try:
        yield
    finally:
        _current.reset(token)


def current_device() -> torch.device | None:
    """Return the device of the run that this is in; None, which is PyTorch's default, outside."""
    return _current.get()
