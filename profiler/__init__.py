"""What backpropagation costs: operations, live bytes, seconds.

They are measured, predicted from shapes, and cross-checked.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
