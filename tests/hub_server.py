"""A stand-in for the Hub: the endpoints that huggingface_hub calls for a push of a dataset, over real HTTP.

It keeps repositories in memory: branches of files, large files by their SHA-256. What it refuses and how is written
after the client's own handling of errors and the LFS batch API; the real Hub cannot be reached from the tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml  # type: ignore[import-untyped]

TOKEN = "hf_thetokenofthetests"
READER = "hf_atokenthatonlyreads"


@dataclass
class Branch:
    """A branch: its files, and its commits, the newest last."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=lambda: ["0" * 40])


@dataclass
class Repo:
    """A dataset."""

    private: bool
    branches: dict[str, Branch] = field(default_factory=lambda: {"main": Branch()})


@dataclass
class Fault:
    """What goes wrong with requests that match: a status, or the connection is closed (0); so many times."""

    pattern: str
    status: int
    times: int = 1
    after: bool = False
    """Whether the request is carried out, and only its answer is lost."""


class HubServer:
    """The server; ``with HubServer() as hub`` has it listen."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, pattern: str) -> int:
        """The requests so far that match."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def take_fault(self, request: str) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None


class RefusalError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.message, self.code = status, message, code


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith(".parquet")


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    routes: list[tuple[str, Callable[..., Any]]] = [
        (r"POST /api/repos/create", create),
        (r"POST /api/validate-yaml", validate_yaml),
        (r"GET /api/datasets/([^/]+/[^/]+)", show),
        (r"GET /api/datasets/([^/]+/[^/]+)/revision/(.+)", show),
        (r"GET /api/datasets/([^/]+/[^/]+)/tree/(.+)", list_tree),
        (r"POST /api/datasets/([^/]+/[^/]+)/branch/(.+)", add_branch),
        (r"POST /api/datasets/([^/]+/[^/]+)/preupload/(.+)", preupload),
        (r"POST /api/datasets/([^/]+/[^/]+)/commit/(.+)", commit),
        (r"POST /datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", lfs_batch),
        (r"PUT /lfs/([0-9a-f]{64})", lfs_upload),
        (r"POST /lfs/verify", lfs_verify),
    ]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            request = f"{self.command} {unquote(urlsplit(self.path).path)}"
            fault = hub.take_fault(request)
            if fault is not None and not fault.status and not fault.after:
                self.rfile.read(1)  # in the middle of what is sent
                self.hang_up()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault is not None and not fault.after:
                self.send(fault.status, {"error": "trouble"}, {"X-Error-Message": "trouble"})
                return
            try:
                self.check_token(request)
                reply: Any = next(
                    work(hub, body, *match.groups())
                    for pattern, work in routes
                    if (match := re.fullmatch(pattern, request))
                )
            except StopIteration:
                self.send(404, {"error": f"no route: {request}"}, {})
            except RefusalError as refusal:
                headers = {
                    "X-Error-Message": refusal.message,
                    **({"X-Error-Code": refusal.code} if refusal.code else {}),
                }
                self.send(refusal.status, {"error": refusal.message}, headers)
            else:
                if fault is not None:
                    self.hang_up()
                    return
                self.send(200, reply, {})

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def check_token(self, request: str) -> None:
            if request.startswith("PUT /lfs/"):
                return  # a signed address: the client sends no token there
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if token not in (TOKEN, READER):
                raise RefusalError(401, "Invalid credentials in Authorization header")
            if token == READER and not request.startswith("GET"):
                raise RefusalError(403, "You don't have the rights to write here")

        def hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(2)

        def send(self, status: int, reply: Any, headers: dict[str, str]) -> None:
            body = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _find(hub: HubServer, name: str, revision: str = "main") -> tuple[Repo, Branch]:
    if name not in hub.repos:
        raise RefusalError(404, "Repository not found", "RepoNotFound")
    repo = hub.repos[name]
    if revision not in repo.branches:
        raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return repo, repo.branches[revision]


def create(hub: HubServer, body: bytes) -> Any:
    given = json.loads(body)
    name = f"{given['organization']}/{given['name']}"
    assert given["type"] == "dataset"
    if given["organization"] == "strangers":
        raise RefusalError(403, "You don't have the rights to create a dataset under the namespace")
    if name in hub.repos:
        raise RefusalError(409, "You already created this dataset repo")
    hub.repos[name] = Repo(private=given.get("visibility") == "private")
    return {"url": f"{hub.url}/datasets/{name}", "name": name}


def validate_yaml(hub: HubServer, body: bytes) -> Any:
    given = json.loads(body)
    assert given["repoType"] == "dataset"
    front = yaml.safe_load(given["content"].split("---\n")[1])
    known = {"license", "language", "pretty_name", "size_categories", "task_categories", "tags", "configs"}
    strange = set(front) - known - {"annotations_creators"}
    return {"errors": [{"message": f"unknown: {name}"} for name in strange], "warnings": []}


def show(hub: HubServer, body: bytes, name: str, revision: str = "main") -> Any:
    repo, branch = _find(hub, name, revision)
    return {"id": name, "sha": branch.commits[-1], "private": repo.private, "tags": [], "siblings": []}


def list_tree(hub: HubServer, body: bytes, name: str, revision: str) -> Any:
    _, branch = _find(hub, name, revision)
    return [
        {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
        for path, content in branch.files.items()
    ]


def add_branch(hub: HubServer, body: bytes, name: str, revision: str) -> Any:
    repo, main = _find(hub, name)
    if revision in repo.branches:
        raise RefusalError(409, "Reference already exists")
    repo.branches[revision] = Branch(dict(main.files), list(main.commits))
    return {}


def preupload(hub: HubServer, body: bytes, name: str, revision: str) -> Any:
    _, branch = _find(hub, name, revision)
    files = []
    for given in json.loads(body)["files"]:
        path, there = given["path"], branch.files.get(given["path"])
        hash_of = (lambda content: hashlib.sha256(content).hexdigest()) if is_large(path) else git_hash
        files.append(
            {
                "path": path,
                "uploadMode": "lfs" if is_large(path) else "regular",
                "shouldIgnore": False,
                "oid": None if there is None else hash_of(there),
            }
        )
    return {"files": files}


def lfs_batch(hub: HubServer, body: bytes, name: str) -> Any:
    _find(hub, name)
    objects = []
    for given in json.loads(body)["objects"]:
        entry: dict[str, Any] = {"oid": given["oid"], "size": given["size"]}
        if given["oid"] not in hub.objects:
            entry["actions"] = {
                "upload": {"href": f"{hub.url}/lfs/{given['oid']}"},
                "verify": {"href": f"{hub.url}/lfs/verify"},
            }
        objects.append(entry)
    return {"transfer": "basic", "objects": objects}


def lfs_upload(hub: HubServer, body: bytes, oid: str) -> Any:
    if hashlib.sha256(body).hexdigest() != oid:
        raise RefusalError(400, "these bytes are not the object")
    hub.objects[oid] = body
    return {}


def lfs_verify(hub: HubServer, body: bytes) -> Any:
    given = json.loads(body)
    if len(hub.objects.get(given["oid"], b"")) != given["size"]:
        raise RefusalError(404, "Object not found")
    return {}


def commit(hub: HubServer, body: bytes, name: str, revision: str) -> Any:
    _, branch = _find(hub, name, revision)
    files = dict(branch.files)
    for line in body.splitlines():
        item = json.loads(line)
        value = item["value"]
        match item["key"]:
            case "header":
                assert value["summary"]
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                if value["oid"] not in hub.objects:
                    raise RefusalError(400, "LFS pointer pointed to a file that does not exist")
                files[value["path"]] = hub.objects[value["oid"]]
            case "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise RefusalError(404, "A file with this name doesn't exist", "EntryNotFound")
            case other:
                raise RefusalError(400, f"unknown operation {other}")
    branch.files = files
    branch.commits.append(hashlib.sha1(body).hexdigest())
    oid = branch.commits[-1]
    return {"commitUrl": f"{hub.url}/datasets/{name}/commit/{oid}", "commitOid": oid, "success": True}
