"""Python's garbage collector, paused while a large graph is made.

Nodes, values and instructions are made by the ten thousands and none of them is garbage, yet each
batch would make the collector walk through everything that is alive, PyTorch's modules included.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the collector within the block or the decorated function; restore it afterwards."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
