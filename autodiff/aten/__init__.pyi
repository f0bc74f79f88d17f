from .call import Call as Call, Rule as Rule, Shape as Shape
from .table import (
    TABLE as TABLE,
    cost_of as cost_of,
    family_name as family_name,
    is_view as is_view,
    register_cost as register_cost,
)
