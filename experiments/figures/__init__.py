"""The report's figures, one module a family: each takes a sweep's results and returns a drawing whose title is its message."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
