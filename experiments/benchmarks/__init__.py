"""Steps that alternate in one process on one thread, each compared with what others take."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
