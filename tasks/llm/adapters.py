"""Trained models on a server that is not the factory's: looked for by name, and loaded where the server allows it."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from models.endpoints import Endpoint
from models.errors import AdapterError

_TIMEOUT_S = 60.0


def require_listed(endpoint_name: str, endpoint: Endpoint, name: str, folder: Path, *, adapter: bool) -> None:
    """See to it that every address of an endpoint has a trained model.

    vLLM loads an adapter at run time where it was started with ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`` and can read
    the folder.

    Args:
        endpoint_name: The endpoint of the base model.
        endpoint: What it is.
        name: Name of the trained model on the server.
        folder: Its weights.
        adapter: They are those of an adapter of the base model.

    Raises:
        AdapterError: A server does not have it, and does not load it; with what to type there.
    """
    key = os.environ.get(endpoint.api_key_env or "", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    for url in endpoint.base_urls:
        address = url.rstrip("/")
        try:
            with httpx.Client(headers=headers, timeout=_TIMEOUT_S) as client:
                reply = client.get(f"{address}/models").raise_for_status()
                if any(model["id"] == name for model in reply.json()["data"]):
                    continue
                why = _load(client, address, name, folder) if adapter else "it does not list it"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            why = f"it does not list its models ({type(error).__name__}: {error})"
        if why:
            raise _cannot_serve(endpoint_name, address, name, folder, why, adapter)


def _load(client: httpx.Client, address: str, name: str, folder: Path) -> str:
    """Ask vLLM to load an adapter; returns why it did not."""
    reply = client.post(f"{address}/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)})
    if reply.is_success:
        return ""
    # 404 is said by a server that takes no adapters while it runs, and by one that cannot read the folder
    said = " ".join(reply.text.split())[:300]
    return f"it does not list it, and answers {reply.status_code} when it is asked to load it: {said}"


def _cannot_serve(endpoint: str, address: str, name: str, folder: Path, why: str, adapter: bool) -> AdapterError:
    how = (
        f"start vLLM there with --enable-lora --lora-modules {name}={folder} (and --max-lora-rank as the adapter's "
        "rank), or with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and the factory loads it"
        if adapter
        else f"serve {folder} there as {name}"
    )
    return AdapterError(
        f"The server {address} of endpoint {endpoint!r}, which is a server of yours, does not have the trained model "
        f"{name!r}: {why}.",
        safe="Nothing was started.",
        next_step=f"Once: {how}. Then type the same command again.",
    )
