"""After ``kill -9`` no call is made again whose answer was stored."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from storage.call_cache import CallCache
from tasks.llm.calls import hash_requests
from tasks.llm.engines import PROJECT_ROOT
from tasks.llm.gateway import Gateway
from tests.llm.conftest import Server, settings_to
from tests.llm.support import chats

CLIENT = """
import sys
from pathlib import Path
from tasks.llm.gateways import open_gateway
from tests.llm.conftest import settings_to
from tests.llm.support import chats
gateway = open_gateway(settings_to(sys.argv[1], Path(sys.argv[2]), max_concurrency=4))
gateway.complete("policy", chats(200, samples=2), stage="test")
"""


def test_kill_and_run_again(serve: Server, tmp_path: Path) -> None:
    server = serve(latency_s=0.02)
    client = subprocess.Popen([sys.executable, "-c", CLIENT, server.base_url, str(tmp_path)], cwd=PROJECT_ROOT)
    deadline = time.monotonic() + 30
    while server.completed.total() < 60 and time.monotonic() < deadline:
        time.sleep(0.01)
    client.send_signal(signal.SIGKILL)
    client.wait()
    time.sleep(0.1)
    before = server.completed.total()
    assert 60 <= before < 200

    settings = settings_to(server.base_url, tmp_path, max_concurrency=4)
    cache = CallCache(tmp_path / "calls.sqlite")
    endpoint, role = settings.endpoints["scripted"], settings.roles.policy
    hashes = [h for r in chats(200, samples=2) for h in hash_requests(role, endpoint, r.messages, 2, settings.seed)]
    stored = len(cache.get_many(hashes)) // 2
    gateway = Gateway(settings, cache)
    answers = gateway.complete("policy", chats(200, samples=2), stage="test")
    gateway.close()
    assert all(s.error is None for g in answers for s in g)
    # asked again: only what was in flight when the process died, at most once for each slot
    assert server.completed.total() - before == 200 - stored
    assert before - stored <= 4
    assert max(server.completed.values()) <= 2
    assert sum(n == 2 for n in server.completed.values()) == before - stored
