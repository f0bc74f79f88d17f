from .case import (
    ACTIVATIONS as ACTIVATIONS,
    LOSSES as LOSSES,
    MODES as MODES,
    TheoryError as TheoryError,
)
from .elements import (
    greatest as greatest,
    input_bytes as input_bytes,
    live_after_elements as live_after_elements,
    parameter_elements as parameter_elements,
    peak_elements as peak_elements,
)
from .operation_counts import (
    Operations as Operations,
    operations as operations,
    total_operations as total_operations,
)
from .peaks import peak_pieces as peak_pieces
from .pieces import Piece as Piece
from .pytorch import (
    pytorch_peak_elements as pytorch_peak_elements,
    pytorch_products as pytorch_products,
)
