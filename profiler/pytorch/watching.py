"""What a dispatch mode cannot see by itself: backward passes, optimizers' updates, modules.

Each is a context manager that informs a recorder and leaves PyTorch as it was. The backward engine
is entered through one function of `torch.autograd`, which is wrapped while a step is measured;
optimizers and modules are watched by PyTorch's own global hooks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import module as nn_module
from torch.optim import optimizer as torch_optimizer

from autodiff.instructions import PARAMETER
from profiler.pytorch.notes import BUFFER, OPTIMIZER_STATE, ModuleCall, NamedModule
from profiler.pytorch.recorder import Recorder


@contextmanager
def engine(recorder: Recorder) -> Iterator[None]:
    """Inform the recorder of backward passes: their seeds, and the gradients that they return."""
    autograd: Any = torch.autograd
    original = autograd._engine_run_backward

    def run(
        outputs: Any,
        seeds: Any,
        retain: bool,
        create_graph: bool,
        inputs: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        for seed in seeds:
            watch = recorder.buffers.watch_of(seed)
            if watch is not None:
                recorder.notes.seeds.append(watch.buffer)
        with recorder.place.backward_pass(create_graph):
            results = original(outputs, seeds, retain, create_graph, inputs, *args, **kwargs)
        if not kwargs.get("accumulate_grad", True):
            for leaf, gradient in zip(inputs, results, strict=False):
                if isinstance(leaf, torch.Tensor) and leaf.is_leaf:
                    recorder.buffers.gradient_of(leaf, gradient)
        return results

    autograd._engine_run_backward = run
    try:
        yield
    finally:
        autograd._engine_run_backward = original


@contextmanager
def optimizers(recorder: Recorder) -> Iterator[None]:
    """Inform the recorder of optimizers' updates and of the tensors that are their state."""

    def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                recorder.buffers.see(parameter, PARAMETER)
        for tensor in _tensors(optimizer.state):
            recorder.buffers.see(tensor, OPTIMIZER_STATE)
        recorder.place.update_begins(sys._getframe(1))

    def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        recorder.place.update_ends()
        for tensor in _tensors(optimizer.state):
            recorder.buffers.mark(tensor, OPTIMIZER_STATE)

    handles = [
        torch_optimizer.register_optimizer_step_pre_hook(before),
        torch_optimizer.register_optimizer_step_post_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in an optimizer's state, which nests dicts and lists."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, (list, tuple)):
        for one in state:
            yield from _tensors(one)
    elif isinstance(state, dict):
        for one in state.values():
            yield from _tensors(one)


@contextmanager
def modules(recorder: Recorder, model: torch.nn.Module | None) -> Iterator[None]:
    """Inform the recorder which module runs, and of the names of parameters and buffers."""
    if model is None:
        yield
        return
    numbers: dict[int, int] = {}
    for name, module in model.named_modules():
        numbers[id(module)] = len(recorder.notes.modules)
        recorder.notes.modules.append(NamedModule(name, type(module).__name__))
    for name, parameter in model.named_parameters():
        recorder.buffers.see(parameter, PARAMETER, name)
    for name, buffer in model.named_buffers():
        recorder.buffers.see(buffer, BUFFER, name)
    outer: list[tuple[int, int]] = []

    def enter(module: torch.nn.Module, args: Any) -> None:
        number = numbers.get(id(module))
        if number is not None:
            outer.append((number, recorder.module))
            recorder.module = number
            recorder.notes.entered.append(ModuleCall(number, recorder.place.in_engine))

    def leave(module: torch.nn.Module, args: Any, result: Any) -> None:
        number = numbers.get(id(module))
        # A recomputation may end by an exception that leaves modules without calling their hooks:
        # those above are left as well.
        while number is not None and outer and any(entered == number for entered, _ in outer):
            entered, recorder.module = outer.pop()
            if entered == number:
                break

    handles = [
        nn_module.register_module_forward_pre_hook(enter),
        nn_module.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
