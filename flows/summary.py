"""The summary of a run, from its tables and manifest; without Prefect, so that a report needs none."""

from __future__ import annotations

from flows.rounds import compare_rounds
from models.accounts import find_unpriced
from models.settings import FactorySettings
from models.summary import RunSummary
from storage.accounts import read_accounts
from storage.diversity import read_diversity
from storage.exports import ExportSummary
from storage.manifests import Manifest
from storage.roots import Root
from storage.shared_calls import read_spending
from storage.summary import count_run
from tasks.work import Calls


def summarise_run(
    root: Root,
    manifest: Manifest,
    settings: FactorySettings,
    *,
    calls: Calls,
    seconds: float,
    exported: ExportSummary | None,
) -> RunSummary:
    """What a run has come to.

    Args:
        root: The data folder.
        manifest: The run.
        settings: Its settings.
        calls: Those since it was last started.
        seconds: How long it has taken since then.
        exported: What was written for trainers; None: nothing.

    Raises:
        StorageError: The run is not in the catalog, or a part of it is damaged.
    """
    accounts = read_accounts(root, settings)
    return RunSummary(
        run=manifest.run,
        **count_run(root, manifest.run),
        accounts=accounts,
        spent=read_spending(root).get(manifest.run),
        unpriced=find_unpriced(settings, (account.endpoint for account in accounts if account.cost is None)),
        diversity=read_diversity(root, manifest.run),
        calls_made=calls.made,
        calls_cached=calls.cached,
        exported=exported.rows if exported else {},
        export_folder=exported.folder if exported else None,
        seconds=round(seconds, 1),
        rounds=compare_rounds(root, manifest),
    )
