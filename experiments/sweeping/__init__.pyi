from .job import publish_sweep as publish_sweep, run_task as run_task
from .multirun import begin as begin
