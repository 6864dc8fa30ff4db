"""Requests in flight of several runs: slots of a limit that the Prefect server keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
from prefect import get_run_logger
from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from models.errors import SettingsError
from models.settings import FactorySettings

LEASE_S = 60.0
"""A run that was killed gives its slots back after that."""


@contextmanager
def shared_slots(settings: FactorySettings) -> Iterator[None]:
    """Hold the slots of all requests that a run may have in flight, until it ends; waits while others hold them.

    Once a run, never once a call: to take slots costs the server 150 to 700 ms.

    Raises:
        SettingsError: The Prefect server has no such limit, or it is less than one run needs.
    """
    wanted: Counter[str] = Counter()
    for name in settings.used_endpoints:
        endpoint = settings.endpoints[name]
        if endpoint.shared_limit is not None:
            wanted[endpoint.shared_limit] += endpoint.max_concurrency * max(1, len(endpoint.base_urls))
    context = FlowRunContext.get()
    with ExitStack() as stack:
        # in one order, so that no two runs wait for each other
        for limit, slots in sorted(wanted.items()) if context is not None else ():
            _require_limit(limit, slots)
            get_run_logger().info("taking %d slots of the limit %s", slots, limit)
            # a run whose server was away goes on: what it has begun is paid for
            stack.enter_context(
                concurrency(
                    limit, occupy=slots, lease_duration=LEASE_S, strict=True, raise_on_lease_renewal_failure=False
                )
            )
        yield


def _require_limit(limit: str, slots: int) -> None:
    from prefect.client.orchestration import get_client

    try:
        most = get_client(sync_client=True).read_global_concurrency_limit_by_name(limit).limit
    except (ObjectNotFound, PrefectHTTPStatusError, httpx.HTTPError) as error:
        raise SettingsError(
            f"The Prefect server has no limit {limit!r} (endpoints.NAME.shared_limit).",
            safe="Nothing was started.",
            next_step=f"Type: prefect gcl create {limit} --limit {slots}",
        ) from error
    if most < slots:
        raise SettingsError(
            f"A run needs {slots} slots of the limit {limit!r}, which has {most}.",
            safe="Nothing was started.",
            next_step=f"Lower max_concurrency, or type: prefect gcl update {limit} --limit {slots}",
        )
