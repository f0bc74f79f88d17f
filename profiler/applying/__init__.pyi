from .compiling import PlannedBackend as PlannedBackend, backend as backend
from .model import checkpointed as checkpointed
from .plans import Plan as Plan, Plans as Plans
