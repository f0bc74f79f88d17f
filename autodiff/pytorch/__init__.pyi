from .building import Source as Source
from .tracing import from_pytorch as from_pytorch, given_values as given_values
