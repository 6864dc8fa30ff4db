"""Push an export to the Hugging Face Hub, or to the one that HF_ENDPOINT names: one commit, none where nothing changed.

The token is `huggingface_hub`'s own affair: HF_TOKEN, or what `hf auth login` stored. It is in no setting, parameter,
artifact, message or log.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from models.base import Strict
from models.errors import HubError, SettingsError
from models.settings import ExportFormat
from models.version import VERSION
from storage.exports.files import CARD

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TRIES = 4
MAIN = "main"
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# what one push may replace or delete: files that somebody else put beside them stay
_OURS = tuple(f"{name}/" for name in get_args(ExportFormat))


class Destination(Strict):
    """Where an export is to go."""

    repo: str
    """Owner and name of a dataset."""
    private: bool
    """Whether nobody else may see it."""
    revision: str = MAIN
    """The branch."""


class Pushed(Strict):
    """What became of a push."""

    url: str
    commit: str
    changed: bool
    """Whether there is a new commit: not where the branch has these very files."""


def check_destination(repo: str, *, private: bool, revision: str | None) -> tuple[Destination, str]:
    """Where an export is to go, checked before anything is written; and the address of the Hub.

    Raises:
        SettingsError: The extra ``hub`` is not installed, or this is no name of a dataset or branch.
    """
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise SettingsError(
            "--push needs huggingface_hub.", next_step="Install the extra: pip install 'rpo-factory[hub]'"
        ) from error
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise SettingsError(f"{repo!r} is not the name of a dataset.", next_step="Type: --push ORGANISATION/NAME")
    if revision is not None and not _BRANCH.fullmatch(revision):
        raise SettingsError(
            f"{revision!r} is not the name of a branch.", next_step="Use letters, digits, '.', '_', '-'."
        )
    return Destination(repo=repo, private=private, revision=revision or MAIN), constants.ENDPOINT


def require_token() -> None:
    """Refuse before the work what would be refused after it.

    Raises:
        SettingsError: There is no token.
    """
    from huggingface_hub import get_token

    if not get_token():
        raise SettingsError(
            "There is no token for the Hub.",
            safe="Nothing was written or pushed.",
            next_step="Set HF_TOKEN, or type `hf auth login`; the token needs write permission.",
        )


def list_files(folder: Path) -> dict[str, int]:
    """The files of an export, as they are called on the Hub, with their sizes in bytes."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }


def push_folder(folder: Path, destination: Destination, run: str) -> Pushed:
    """Make a branch of a dataset hold an export, in one commit; a dataset or branch that is not there is created.

    What fails on the way (a broken connection, 429, 5xx) is tried again: what arrived is not sent twice, and a commit
    whose answer was lost is found.

    Raises:
        HubError: The Hub refuses, or does not answer.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = HfApi(library_name="rpo-factory", library_version=VERSION)
    known = (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError, ValueError, RuntimeError)
    before: list[str] = []
    try:
        for attempt in Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(max=8),
            reraise=True,
        ):
            with attempt:
                before.append(_prepare(api, destination))
                commit = _commit(api, folder, destination, run)
    except known as error:
        raise _explain(error, destination, api.endpoint) from error
    return Pushed(
        url=f"{api.endpoint}/datasets/{destination.repo}/tree/{destination.revision}",
        commit=commit,
        changed=commit != before[0],
    )


def _prepare(api: HfApi, destination: Destination) -> str:
    """Create what is not there; returns the commit that the branch is at."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    where = {"repo_id": destination.repo, "repo_type": "dataset"}
    try:
        info = api.repo_info(**where)
    except RepositoryNotFoundError:
        api.create_repo(**where, private=destination.private or None, exist_ok=True)
        info = api.repo_info(**where)
    if destination.private and not info.private:
        raise HubError(
            f"The dataset {destination.repo} is there already, and everybody can see it.",
            safe="Nothing was pushed.",
            next_step="Make it private on the Hub first, give another name, or leave --private out.",
        )
    try:
        return str(api.repo_info(**where, revision=destination.revision).sha)
    except RevisionNotFoundError:
        api.create_branch(**where, branch=destination.revision, exist_ok=True)
        return str(api.repo_info(**where, revision=destination.revision).sha)


def _commit(api: HfApi, folder: Path, destination: Destination, run: str) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    where = {"repo_id": destination.repo, "repo_type": "dataset", "revision": destination.revision}
    files = list_files(folder)
    there = [name for name in api.list_repo_files(**where) if name.startswith(_OURS) or name == CARD]
    operations = [
        *(CommitOperationDelete(path_in_repo=name) for name in there if name not in files),
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files),
    ]
    done = api.create_commit(
        **where, operations=operations, commit_message=f"Export of run {run} by rpo-factory {VERSION}"
    )
    return str(done.oid)


def _cause(error: BaseException) -> BaseException:
    """What huggingface_hub wrapped: its thread of an upload says only which file it was."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _may_pass(error: BaseException) -> bool:
    import httpx2

    cause = _cause(error)
    status = _status(cause)
    return status == 429 or status >= 500 if status else isinstance(cause, httpx2.TransportError)


def _explain(error: Exception, destination: Destination, endpoint: str) -> HubError:
    """The Hub's refusal in our words; none of the request is in it, whose headers hold the token."""
    cause = _cause(error)
    status = _status(cause)
    what, mend = f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}", ""
    if status == 401:
        what, mend = "it does not know the token (401)", "Set HF_TOKEN anew, or type `hf auth login`."
    elif status == 403:
        what = "the token may not write there (403)"
        mend = f"Use a token with write permission for {destination.repo.split('/')[0]!r}, or another name."
    elif status == 404:
        what, mend = "there is no such dataset or branch (404)", "Check the name."
    elif status:
        what = f"it answered {status}" + (f", {TRIES} times" if _may_pass(error) else "")
    elif _may_pass(error):
        what, mend = f"it does not answer ({type(cause).__name__})", "Check the network and HF_ENDPOINT."
    return HubError(
        f"{endpoint} did not take the export for {destination.repo}: {what}.",
        safe="The export is written. A push is one commit: the dataset has all of it or is as it was.",
        next_step=f"{mend} Then type the same command again: what has arrived is not sent twice.".strip(),
    )
