"""Cross-checks that share no code with the counters.

They are scalars that count their own arithmetic, and PyTorch's live storages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
