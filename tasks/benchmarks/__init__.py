"""Public benchmarks: a module each."""

from __future__ import annotations

from models.benchmarks import BenchmarkName
from tasks.benchmarks.base import Benchmark
from tasks.benchmarks.ifeval import IFEVAL

BENCHMARKS: dict[BenchmarkName, Benchmark] = {"ifeval": IFEVAL}
"""Every benchmark by its name."""
