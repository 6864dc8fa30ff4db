import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.endpoints import Endpoint, Role, Roles
from models.records import RoleSeed
from models.settings import FactorySettings
from tasks.batch import Batch, batches_at_once, stage_task


def settings_to(data: Path, base_url: str | list[str], slots: int, batch_size: int) -> FactorySettings:
    endpoints = {"a": Endpoint(base_url=base_url, model="m", max_concurrency=slots)}
    return FactorySettings(
        data=str(data), endpoints=endpoints, roles=Roles(policy=Role(endpoint="a")), batch_size=batch_size
    )


@pytest.mark.parametrize(
    ("base_url", "slots", "batch_size", "batches"),
    [
        ("http://a/v1", 64, 50, 8),
        ("http://a/v1", 256, 50, 27),
        (["http://a/v1", "http://b/v1"], 64, 50, 14),
        # one works while the next one reads
        ("http://a/v1", 1, 500, 2),
    ],
)
def test_enough_batches_to_fill_an_endpoint_while_some_lag(
    tmp_path: Path, base_url: str | list[str], slots: int, batch_size: int, batches: int
) -> None:
    assert batches_at_once(settings_to(tmp_path, base_url, slots, batch_size)) == batches


def test_no_more_batches_than_that_hold_rows(tmp_path: Path) -> None:
    at_work, peak, lock, ready = 0, 0, threading.Lock(), threading.Barrier(2)

    @stage_task(produces="roles")
    def sample_responses(_batch: Batch, number: int) -> Iterator[RoleSeed]:
        nonlocal at_work, peak
        with lock:
            at_work, peak = at_work + 1, max(peak, at_work + 1)
        ready.wait(20)  # two at a time, and never alone
        with lock:
            at_work -= 1
        if number == 3:
            raise RuntimeError("a batch that fails gives its place back")
        yield RoleSeed(
            role_id=str(number), language="en", name="a", description="x" * 20, skills=["a"], questions=["?"] * 3
        )

    settings = settings_to(tmp_path, "http://a/v1", 1, 500)
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(sample_responses.fn, settings, number) for number in range(8)]
    assert [future.exception() is None for future in made] == [number != 3 for number in range(8)]
    assert peak == batches_at_once(settings) == 2
