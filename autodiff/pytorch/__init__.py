"""PyTorch training steps as programs: `recording` sees the ops, `building` makes the program."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
