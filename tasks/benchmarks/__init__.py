"""Public benchmarks: a module each."""

from __future__ import annotations

from models.benchmarks import BenchmarkName
from tasks.benchmarks.base import Benchmark
from tasks.benchmarks.ifeval import IFEVAL
from tasks.benchmarks.multi_if import MULTI_IF
from tasks.benchmarks.sysbench import SYSBENCH

BENCHMARKS: dict[BenchmarkName, Benchmark] = {"ifeval": IFEVAL, "multi-if": MULTI_IF, "sysbench": SYSBENCH}
"""Every benchmark by its name."""
