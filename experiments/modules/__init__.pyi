from .profiling import run_task as run_task
