"""The costs of PyTorch's own ops, in the convention of `autodiff.cost`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
