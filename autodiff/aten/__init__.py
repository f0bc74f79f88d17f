"""PyTorch's own ops: what each costs, in the convention of `autodiff.cost`, derived from its formula."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
