"""An instrumented computation-graph engine.

It has the exercise's nodes, gradients as more graph, programs, schedules and one executor.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
