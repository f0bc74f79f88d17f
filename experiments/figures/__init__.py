"""The report's figures by family: each turns results into a drawing whose title is its message."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
