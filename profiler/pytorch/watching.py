"""What a dispatch mode cannot see by itself: backward passes, updates, modules, other threads.

Recorders are informed of what their own thread does. PyTorch is left as it was: what must be
replaced for that (one function of `torch.autograd`, the start of threads) is replaced when the
first recorder begins and restored when the last one ends, whatever thread they are in; optimizers
and modules are watched by PyTorch's own global hooks.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules import module as nn_module
from torch.optim import optimizer as torch_optimizer

from autodiff.instructions import PARAMETER
from profiler.pytorch.elsewhere import Elsewhere
from profiler.pytorch.notes import BUFFER, OPTIMIZER_STATE, ModuleCall, NamedModule
from profiler.pytorch.recorder import Recorder

_lock = threading.Lock()
_recorders: list[Recorder] = []
_installed = ExitStack()


@contextmanager
def step(recorder: Recorder) -> Iterator[None]:
    """Inform a recorder of its thread's backward passes and updates, and of ops elsewhere."""
    with _lock:
        if not _recorders:
            for one in (_engine, _optimizers, _threads):
                _installed.enter_context(one())
        _recorders.append(recorder)
    try:
        yield
    finally:
        with _lock:
            _recorders.remove(recorder)
            if not _recorders:
                _installed.close()


def _here() -> list[Recorder]:
    """Return the recorders of the thread that asks."""
    thread = threading.get_ident()
    return [recorder for recorder in _recorders if recorder.thread == thread]


@contextmanager
def _engine() -> Iterator[None]:
    """Inform recorders of backward passes: their seeds, and the gradients that they return."""
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
        recorders = _here()
        with ExitStack() as passes:
            for recorder in recorders:
                watches = (recorder.buffers.watch_of(seed) for seed in seeds)
                recorder.notes.seeds += [watch.buffer for watch in watches if watch is not None]
                passes.enter_context(recorder.place.backward_pass(create_graph))
            results = original(outputs, seeds, retain, create_graph, inputs, *args, **kwargs)
        if not kwargs.get("accumulate_grad", True):
            for leaf, gradient in zip(inputs, results, strict=False):
                if isinstance(leaf, torch.Tensor) and leaf.is_leaf:
                    for recorder in recorders:
                        recorder.buffers.gradient_of(leaf, gradient)
        return results

    autograd._engine_run_backward = run
    try:
        yield
    finally:
        autograd._engine_run_backward = original


@contextmanager
def _optimizers() -> Iterator[None]:
    """Inform recorders of optimizers' updates and of the tensors that are their state."""

    def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for recorder in _here():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    recorder.buffers.see(parameter, PARAMETER)
            for tensor in _tensors(optimizer.state):
                recorder.buffers.see(tensor, OPTIMIZER_STATE)
            recorder.place.update_begins(sys._getframe(1))

    def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for recorder in _here():
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
def _threads() -> Iterator[None]:
    """Have the ops listed that run in threads which a watched step starts or gives work to."""
    thread_class: Any = threading.Thread
    start, submit = thread_class.start, ThreadPoolExecutor.submit

    def listing(function: Callable[..., Any], recorders: list[Recorder]) -> Callable[..., Any]:
        def listed(*args: Any, **kwargs: Any) -> Any:
            with Elsewhere([recorder.notes.elsewhere for recorder in recorders]):
                return function(*args, **kwargs)

        return listed

    def start_listing(thread: threading.Thread) -> None:
        # A pool's own threads live on; what they are given to do is watched below.
        if (recorders := _here()) and not _is_of_a_pool(thread):
            thread.run = listing(thread.run, recorders)  # type: ignore[method-assign]
        start(thread)

    def submit_listing(pool: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        recorders = _here()
        work = listing(function, recorders) if recorders else function
        return submit(pool, work, *args, **kwargs)

    thread_class.start = start_listing
    ThreadPoolExecutor.submit = submit_listing  # type: ignore[method-assign]
    try:
        yield
    finally:
        thread_class.start = start
        ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]


def _is_of_a_pool(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    return getattr(target, "__module__", "") == "concurrent.futures.thread"


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
    with _running_modules(recorder, numbers):
        yield


@contextmanager
def _running_modules(recorder: Recorder, numbers: dict[int, int]) -> Iterator[None]:
    """Keep the number of the innermost module that runs in the recorder's thread."""
    outer: list[tuple[int, int]] = []

    def number_of(module: torch.nn.Module) -> int | None:
        return numbers.get(id(module)) if threading.get_ident() == recorder.thread else None

    def enter(module: torch.nn.Module, args: Any) -> None:
        number = number_of(module)
        if number is not None:
            outer.append((number, recorder.module))
            recorder.module = number
            recorder.notes.entered.append(ModuleCall(number, recorder.place.in_engine))

    def leave(module: torch.nn.Module, args: Any, result: Any) -> None:
        number = number_of(module)
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
