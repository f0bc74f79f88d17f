from .output import write_benchmark as write_benchmark
from .registry import run_benchmarks as run_benchmarks
