from autodiff import *
from autodiff.pytorch import *
from profiler import *

__version__: str
