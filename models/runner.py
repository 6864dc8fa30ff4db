"""Where the batches of a run are at work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import Strict


class Runner(Strict):
    """The processes that a run's batches are at work in."""

    engine: Literal["threads", "dask", "ray"] = Field(
        default="threads",
        description="threads: in the process of the run. dask or ray: in processes of their own, here or on a cluster "
        "(extras `dask` and `ray`).",
    )
    workers: int = Field(
        default=2,
        ge=1,
        le=1000,
        description="Processes of dask or ray at most. Each has an equal share of `max_concurrency`.",
    )
    address: str | None = Field(
        default=None,
        description="A cluster that is running, such as tcp://HOST:8786 (dask) or ray://HOST:10001 (ray); empty: "
        "processes on this machine, for this run.",
    )

    @property
    def processes(self) -> int:
        """Processes that ask models at the same time."""
        return 1 if self.engine == "threads" else self.workers
