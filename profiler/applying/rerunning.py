"""Modules that run again in backward, by torch.utils.checkpoint: without a compiler.

Random numbers are drawn again from the state that they were drawn from first. A batch norm that
runs again leaves its running statistics as they are, which plain checkpointing does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


class Rerun:
    """The forward pass of a module that keeps its inputs only, and runs again in backward."""

    def __init__(self, module: torch.nn.Module, earlier: Callable[..., Any] | None = None) -> None:
        """Take the place of a module's `forward`; `earlier` is what had taken it before."""
        self.module, self.earlier = module, earlier

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module."""
        forward = self.earlier or type(self.module).forward.__get__(self.module)
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=self._contexts, **kwargs)

    def _contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _statistics_kept(self.module)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with the module."""
        return Rerun, (self.module, self.earlier)


def run_again(model: torch.nn.Module, names: list[str]) -> None:
    """Let the named modules run again in backward, and no others."""
    for part in model.modules():
        earlier = part.__dict__.get("forward")
        if isinstance(earlier, Rerun):
            del part.__dict__["forward"]
            if earlier.earlier is not None:
                part.forward = earlier.earlier
    for name in names:
        part = model.get_submodule(name)
        part.forward = Rerun(part, part.__dict__.get("forward"))


@contextmanager
def _statistics_kept(module: torch.nn.Module) -> Iterator[None]:
    """Leave the running statistics of all norms in a module as they are."""
    norms = [
        part
        for part in module.modules()
        if isinstance(part, _NormBase) and part.training and part.track_running_stats
    ]
    before = [(part.momentum, part.num_batches_tracked) for part in norms]
    for part in norms:
        # The running average moves by nothing. The counter is taken away, not corrected after: how
        # often a norm runs again is not fixed, since a run may stop early or call a norm twice.
        part.momentum, part.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for part, (momentum, counter) in zip(norms, before, strict=True):
            part.momentum, part.num_batches_tracked = momentum, counter
