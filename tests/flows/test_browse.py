"""`rpo browse` as a person has it: the real command in a process, the page in a real Chromium."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows.browse.server import listen
from models.errors import SettingsError
from models.records import Pair, Response
from models.settings import Export
from storage.exports import export_run
from storage.flags import FLAGS_FOLDER, flag_now, read_flags, write_flag
from storage.manifests import load, save
from storage.parts import PartStore
from tests.browsed import ARABIC, EMOJI, KINDS, LONG, MARKUP, RUN, SCRIPT, VERDICTS, make_browsed
from tests.browser import PHONE, Opened, OpenPage
from tests.flows.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page


@dataclass
class Served:
    """A run that is served."""

    root: Path
    pairs: list[Pair]
    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1].strip("/"))

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers; header names with an underscore for the dash."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body or None, headers=given)
            reply = connection.getresponse()
            return reply.status, reply.read().decode(), {key.lower(): value for key, value in reply.getheaders()}
        finally:
            connection.close()


@contextmanager
def serving(root: Path, run: str, pairs: list[Pair]) -> Iterator[Served]:
    command = [sys.executable, "rpo.py", "browse", "--run", run, "--data", str(root), "--port", "0", "--no-open"]
    log = root.with_name("browse.log")
    with log.open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    address = next(line.split()[2] for line in process.stdout if line.startswith("Pairs at "))
    try:
        yield Served(root, pairs, address, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("browse") / "it's [data]"
    with serving(root, RUN, make_browsed(root)) as served:
        yield served


@pytest.fixture
def served(server: Served) -> Served:
    """Without the flags of other tests."""
    shutil.rmtree(server.root / FLAGS_FOLDER, ignore_errors=True)
    return server


@pytest.fixture
def look(served: Served, open_page: OpenPage) -> Iterator[Callable[..., Opened]]:
    """Opens the page; nothing may have gone wrong in it at the end."""
    all_opened: list[Opened] = []

    def open_shown(query: str = "", **how: Any) -> Opened:
        opened = open_page(served.address + query, **how)
        all_opened.append(opened)
        answered(opened.page, 1)
        return opened

    yield open_shown
    for opened in all_opened:
        assert opened.errors == []
        assert opened.strangers == []
        assert opened.page.evaluate("window.pwned") is None


def answered(page: Page, number: int) -> None:
    """Waits for so many answers to be drawn."""
    page.locator(f"main[data-answer='{number}']").wait_for(timeout=20_000)


def then(page: Page, act: Callable[[], Any]) -> None:
    """Does something and waits for the next answer to be drawn."""
    number = int(page.locator("main").get_attribute("data-answer") or 0)
    act()
    answered(page, number + 1)


def choose(page: Page, name: str, value: str) -> None:
    then(page, lambda: page.locator(f"[name={name}]").select_option(value))


def shown(page: Page) -> str:
    return page.locator("main").get_attribute("data-pair") or ""


def total(page: Page) -> int:
    return int(page.locator("#total").inner_text())


def test_it_listens_on_loopback_only(served: Served) -> None:
    lines = Path(f"/proc/{served.process.pid}/net/tcp").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [place for place in listening if place.endswith(f":{served.port:04X}")] == [f"0100007F:{served.port:04X}"]
    other = Path(f"/proc/{served.process.pid}/net/tcp6")
    assert f":{served.port:04X} " not in other.read_text() if other.exists() else True


def test_every_answer_has_a_strict_policy(served: Served) -> None:
    for path in ("/", "/assets/browse.js", "/assets/browse.css", "/api/run", "/api/pair", "/nothing"):
        status, _, headers = served.ask("GET", path, Origin="http://evil.example")
        assert status == (404 if path == "/nothing" else 200)
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert not any(name.startswith("access-control-") for name in headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
def test_another_host_is_refused(served: Served, host: str) -> None:
    status, body, _ = served.ask("GET", "/api/pair", Host=host.format(port=served.port))
    assert status == 421
    assert "pair_id" not in body


def test_its_own_names_are_answered(served: Served) -> None:
    for host in ("127.0.0.1", "localhost"):
        assert served.ask("GET", "/api/run", Host=f"{host}:{served.port}")[0] == 200


def test_only_the_page_may_flag(served: Served) -> None:
    own, kind = f"http://127.0.0.1:{served.port}", "application/json"
    body = json.dumps({"pair_id": served.pairs[0].pair_id, "flagged": True})

    def post(text: str = body, **headers: str) -> int:
        return served.ask("POST", "/api/flag", text, **headers)[0]

    assert post(Content_Type=kind) == 403
    for origin in ("null", "http://evil.example", f"http://localhost:{served.port}", own + "0", own[:-1]):
        assert post(Content_Type=kind, Origin=origin) == 403
    assert post(Content_Type=kind, Origin=own, Sec_Fetch_Site="cross-site") == 403
    assert post(Content_Type="text/plain", Origin=own) == 415
    assert post("x" * 70_000, Content_Type=kind, Origin=own) == 413
    assert post("{}", Content_Type=kind, Origin=own) == 400
    assert post(json.dumps({"pair_id": "nobody", "flagged": True}), Content_Type=kind, Origin=own) == 404
    assert read_flags(served.root) == {}
    assert post(Content_Type=kind, Origin=own) == 200
    assert set(read_flags(served.root)) == {served.pairs[0].pair_id}
    assert served.ask("POST", "/api/pair", "{}", Content_Type=kind, Origin=own)[0] == 405
    assert served.ask("GET", "/api/pair", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403


def test_a_page_that_is_closed_while_it_flags_is_nobodys_error(served: Served) -> None:
    """That the server's log has no traceback is seen at its end."""
    with socket.create_connection(("127.0.0.1", served.port)) as page:
        heads = f"Host: 127.0.0.1:{served.port}\r\nOrigin: http://127.0.0.1:{served.port}\r\nContent-Length: 99\r\n"
        page.sendall(f"POST /api/flag HTTP/1.1\r\n{heads}Content-Type: application/json\r\n\r\n{{".encode())
    assert served.ask("GET", "/api/run")[0] == 200


def test_nothing_else_of_the_disk_is_served(served: Served) -> None:
    for path in ("/assets/..%2fserver.py", "/assets/../server.py", "/assets/%2e%2e/server.py", "/assets/index.html"):
        assert served.ask("GET", path)[0] == 404


def test_wrong_filters_are_said(served: Served) -> None:
    for query in (
        "margin=x",
        "case=9",
        "nonsense=1",
        "flagged=maybe",
        "number=0",
        f"turn={10**40}",
        "text=" + "x" * 600,
    ):
        status, body, _ = served.ask("GET", f"/api/pair?{query}")
        assert status == 400
        assert query.partition("=")[0] in json.loads(body)["what"]
    # what would be SQL if it were read as such
    assert json.loads(served.ask("GET", "/api/pair?role=x'%20OR%20true%20--")[1])["total"] == 0


class OtherSite(BaseHTTPRequestHandler):
    """A page of another origin that tries to read pairs and to set a flag."""

    attack = ""

    def do_GET(self) -> None:
        body = f"<!doctype html><title>…</title><script>{self.attack}</script>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_another_site_in_the_browser_gets_nothing(served: Served, open_page: OpenPage) -> None:
    flag = json.dumps({"pair_id": served.pairs[0].pair_id, "flagged": True})
    target = served.address.rstrip("/")

    class Attacker(OtherSite):
        attack = f"""
        const body = {json.dumps(flag)};
        const tries = [
          fetch("{target}/api/pair"),
          fetch("{target}/api/flag", {{ method: "POST", body, headers: {{ "Content-Type": "application/json" }} }}),
          fetch("{target}/api/flag", {{ method: "POST", body, mode: "no-cors" }}),
        ];
        Promise.allSettled(tries).then((all) => {{
          document.title = all.map((one) => one.status).join(" ");
        }});
        """

    other = ThreadingHTTPServer(("127.0.0.1", 0), Attacker)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        page = open_page(f"http://localhost:{other.server_port}/").page
        for _ in range(100):
            if page.title() != "…":
                break
            page.wait_for_timeout(100)
        assert page.title() == "rejected rejected rejected"
    finally:
        other.shutdown()
    assert read_flags(served.root) == {}


def test_a_pair_is_shown_with_everything(served: Served, look: Callable[..., Opened]) -> None:
    store = PartStore(served.root)
    (part,) = load(served.root, RUN).parts_of("responses")
    texts = {response.response_id: response for response in store.read(part, Response)}
    pair = next(pair for pair in served.pairs if pair.turn == 2 and texts[pair.chosen_id].sample == 2)
    page = look(f"?pair={pair.pair_id}").page
    assert shown(page) == pair.pair_id
    main = page.locator("main")
    for side, response_id in (("chosen", pair.chosen_id), ("rejected", pair.rejected_id)):
        box = main.locator(f".response.{side}")
        for said in (response_id, "policy<b>", f"responses/{part.key}.parquet"):
            assert said in box.inner_text()
    rows = main.locator("tbody tr")
    assert rows.count() == len(KINDS)
    assert rows.locator("del").count() == len(pair.reversed_ids) == VERDICTS[2].count("v")
    assert main.locator("tr.differs").count() == pair.margin
    # the second constraint was violated and is reversed: what code said of the original, and what holds now
    second = rows.nth(1)
    assert "Demand word_count, <u>please</u>." in second.locator("del").inner_text()
    assert "Never word_count, <s>ever</s>." in second.locator("ins").inner_text()
    assert "followed" in second.locator("td").nth(0).locator(".verdict").inner_text()
    assert second.locator("td").nth(0).inner_text().split("\n")[0] == "✓ followed original violated"
    assert "decided by the check (code)" in second.locator("td").nth(0).inner_text()
    assert "(referee, 1 violated)" in rows.nth(2).locator("td").nth(0).inner_text()
    # an earlier turn with its reference, and the query
    assert main.locator(".messages li").count() == 3


@pytest.mark.parametrize(("sample", "text"), list(enumerate([SCRIPT, MARKUP, ARABIC, EMOJI, LONG])))
def test_what_a_model_wrote_is_text(served: Served, look: Callable[..., Opened], sample: int, text: str) -> None:
    store = PartStore(served.root)
    (part,) = load(served.root, RUN).parts_of("responses")
    samples = {response.response_id: response.sample for response in store.read(part, Response)}
    pair = next(pair for pair in served.pairs if samples[pair.chosen_id] == sample)
    opened = look(f"?pair={pair.pair_id}", width=PHONE)
    answer = opened.page.locator(".response.chosen .answer")
    assert answer.evaluate("node => node.textContent") == text
    assert answer.evaluate("node => node.children.length") == 0
    assert opened.overflow() == 0
    if text == ARABIC:
        assert answer.evaluate("node => [node.dir, getComputedStyle(node).unicodeBidi]") == ["auto", "plaintext"]
    if text == LONG:
        assert len(text) == 20_000
        assert answer.evaluate("node => node.scrollHeight > node.clientHeight && node.tabIndex === 0")
    assert not [url for url in opened.requests if "pwned" in url or url.endswith("/x")]


def test_filters(served: Served, look: Callable[..., Opened]) -> None:
    page = look().page
    assert total(page) == len(served.pairs)
    expected = {
        ("margin", "2"): sum(pair.margin == 2 for pair in served.pairs),
        ("turn", "2"): sum(pair.turn == 2 for pair in served.pairs),
        ("case", "5"): sum(pair.noise_case == 5 for pair in served.pairs),
        ("role", "role_two"): sum(pair.dialogue_id == "d-two" for pair in served.pairs),
    }
    for (name, value), count in expected.items():
        assert 0 < count < len(served.pairs)
        choose(page, name, value)
        assert total(page) == count
        choose(page, name, "")
    assert total(page) == len(served.pairs)
    choose(page, "turn", "2")
    choose(page, "margin", "2")
    both = [pair for pair in served.pairs if pair.turn == 2 and pair.margin == 2]
    assert total(page) == len(both)
    seen = {shown(page)}
    for _ in both[1:]:
        then(page, lambda: page.locator("#next").click())
        seen.add(shown(page))
    assert seen == {pair.pair_id for pair in both}
    assert page.locator("#next").is_disabled()
    page.reload()
    answered(page, 1)
    assert (total(page), page.locator("[name=margin]").input_value()) == (len(both), "2")


def differing(chosen: int, rejected: int) -> set[str]:
    sides = zip(KINDS, VERDICTS[chosen], VERDICTS[rejected], strict=True)
    return {kind for kind, *letters in sides if "".join(letters) in ("fv", "nv", "vf")}


def test_filters_that_ask_the_constraints(served: Served, look: Callable[..., Opened]) -> None:
    store = PartStore(served.root)
    (part,) = load(served.root, RUN).parts_of("responses")
    samples = {response.response_id: response.sample for response in store.read(part, Response)}
    on = [differing(samples[pair.chosen_id], samples[pair.rejected_id]) for pair in served.pairs]
    page = look().page
    for kind in KINDS:
        choose(page, "kind", kind)
        assert total(page) == sum(kind in kinds for kinds in on) > 0
    choose(page, "kind", "")
    choose(page, "judge", "referee")
    assert total(page) == sum(bool(kinds & {"style", "tone"}) for kinds in on) < len(on)
    choose(page, "judge", "")
    of_text = sum(0 in (samples[pair.chosen_id], samples[pair.rejected_id]) for pair in served.pairs)
    for typed, count in (("<SCRIPT>window.pwned = 1", of_text), ("number 2?", len(on) // 2), ("100%_'", 0)):
        then(page, partial(page.locator("[name=text]").fill, typed))
        assert total(page) == count
    assert page.get_by_role("heading", name="No pair matches").is_visible()
    then(page, lambda: page.get_by_role("button", name="Reset the filters").click())
    assert total(page) == len(on)


def test_by_keyboard_alone(served: Served, look: Callable[..., Opened]) -> None:
    page = look().page
    press = page.keyboard.press
    first = shown(page)
    then(page, lambda: press("j"))
    second = shown(page)
    then(page, lambda: press("ArrowRight"))
    third = shown(page)
    assert len({first, second, third}) == 3
    then(page, lambda: press("ArrowLeft"))
    then(page, lambda: press("k"))
    assert shown(page) == first
    press("k")
    page.get_by_role("status").get_by_text("This is the first pair.").wait_for(state="attached")
    press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    press("j")
    press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    assert shown(page) == first
    press("/")
    then(page, lambda: page.keyboard.insert_text("number 2"))
    assert total(page) == len(served.pairs) // 2
    press("Escape")
    then(page, lambda: press("r"))
    assert total(page) == len(served.pairs)
    press("g")
    page.keyboard.type("3")
    then(page, lambda: press("Enter"))
    assert shown(page) == third
    press("m")  # flags it, and what is typed next is the note
    page.keyboard.type("both are wrong")
    press("Enter")
    page.get_by_role("status").get_by_text("Note kept").wait_for(state="attached")
    press("Escape")
    # every control is reached by Tab, and seen to be
    reached = set()
    for _ in range(40):
        press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.matches(':focus-visible')"
        )
    assert reached >= {
        "previous",
        "number",
        "next",
        "flag",
        "help",
        "text",
        "role",
        "kind",
        "judge",
        "margin",
        "flagged",
    }
    page.locator("#next").focus()
    then(page, lambda: press("Enter"))
    assert shown(page) not in (first, second, third)
    assert {pair: flag.note for pair, flag in read_flags(served.root).items()} == {third: "both are wrong"}


def test_a_key_just_after_the_dialog(look: Callable[..., Opened]) -> None:
    """Chromium takes the focus from the closed dialog's box with the next frame only; keys before it count as well."""
    focused = look().page.evaluate("""() => {
        const dialog = document.getElementById("keys");
        dialog.showModal();
        dialog.close();
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }));
        return document.activeElement.name;
    }""")
    assert focused == "text"


def test_letters_can_be_switched_off(look: Callable[..., Opened]) -> None:
    page = look().page
    page.locator("#help").click()
    page.get_by_label("Keys of one letter work").uncheck()
    page.locator("#close").click()
    first = shown(page)
    page.keyboard.press("j")
    then(page, lambda: page.keyboard.press("ArrowRight"))
    then(page, lambda: page.keyboard.press("ArrowLeft"))
    assert shown(page) == first


def exported(root: Path) -> set[str]:
    files = (root / "exports" / RUN / "trl").glob("*.jsonl")
    return {json.loads(line)["pair_id"] for file in files for line in file.read_text("utf-8").splitlines()}


def test_a_flagged_pair_leaves_the_export(served: Served, look: Callable[..., Opened]) -> None:
    page = look().page
    flagged = shown(page)
    page.keyboard.press("f")
    page.locator("#note").wait_for()
    assert set(read_flags(served.root)) == {flagged}

    command = [sys.executable, "rpo.py", "export", "--run", RUN, "--data", str(served.root), "--format", "trl"]
    said = subprocess.run([*command, "--without-flagged"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "1 pairs are flagged and were left out" in said
    everything = {pair.pair_id for pair in served.pairs}
    assert exported(served.root) == everything - {flagged}
    export_run(PartStore(served.root), load(served.root, RUN), Export(formats=["trl"]))
    assert exported(served.root) == everything
    # another tab sees it, and only it; the flag is taken off where it was put on
    other = look("?flagged=yes").page
    assert (shown(other), total(other)) == (flagged, 1)
    assert other.locator("#flag").get_attribute("aria-pressed") == "true"
    page.keyboard.press("f")
    page.locator("#flag[aria-pressed=false]").wait_for()
    assert read_flags(served.root) == {}
    then(other, lambda: other.evaluate("dispatchEvent(new Event('focus'))"))
    assert total(other) == 0


def test_a_note_is_not_lost_to_a_flag_that_did_not_see_it(served: Served, look: Callable[..., Opened]) -> None:
    from playwright.sync_api import expect  # here: it is not there where Chromium is not

    first, second = look().page, look().page
    first.keyboard.press("m")
    first.keyboard.type("the judge is wrong")
    first.keyboard.press("Enter")
    first.get_by_role("status").get_by_text("Note kept").wait_for(state="attached")
    second.locator("#flag").click()
    expect(second.locator("#note")).to_have_value("the judge is wrong")
    assert [flag.note for flag in read_flags(served.root).values()] == ["the judge is wrong"]
    # nor to one who is about to write: the other note is shown
    third = look(f"?pair={served.pairs[0].pair_id}").page
    write_flag(served.root, flag_now(served.pairs[0].pair_id, RUN, "by somebody else"))
    third.keyboard.press("m")
    expect(third.locator("#note")).to_have_value("by somebody else")
    third.locator("#note").fill("")
    third.keyboard.press("Enter")
    third.get_by_role("status").get_by_text("Note kept").wait_for(state="attached")
    assert read_flags(served.root)[served.pairs[0].pair_id].note == ""


def test_a_note_outlasts_a_server_that_does_not_answer(served: Served, open_page: OpenPage) -> None:
    page = open_page(served.address).page
    answered(page, 1)
    page.route("**/api/flag", lambda route: route.abort())
    page.keyboard.press("m")
    page.locator("#error:visible").wait_for()
    assert page.locator("#flag").get_attribute("aria-pressed") == "false"
    page.keyboard.type("for good reasons")
    page.keyboard.press("Escape")
    assert page.locator("#note").input_value() == "for good reasons"
    page.unroute("**/api/flag")
    page.keyboard.press("f")
    page.locator("#flag[aria-pressed=true]").wait_for()
    assert [flag.note for flag in read_flags(served.root).values()] == ["for good reasons"]
    assert page.locator("#note").input_value() == "for good reasons"


def test_a_pair_that_is_not_there_and_a_run_without_pairs(served: Served, look: Callable[..., Opened]) -> None:
    page = look("?pair=gone").page
    assert page.get_by_role("heading", name="There is no such pair in this run").is_visible()
    then(page, lambda: page.get_by_role("button", name="Show the first pair").click())
    first = shown(page)
    page.goto(f"{served.address}?pair=gone")
    answered(page, 1)
    then(page, lambda: page.keyboard.press("j"))
    assert shown(page) == first
    parts = [PartStore(served.root).write("pairs", "0" * 32, [])]
    manifest = load(served.root, RUN)
    others = [part for part in manifest.parts if part.dataset not in ("pairs", "audits")]
    save(served.root, manifest.model_copy(update={"run": "none", "parts": [*others, *parts]}))
    with serving(served.root, "none", []) as other:
        page.goto(other.address)
        answered(page, 1)
        assert page.get_by_role("heading", name="This run has no pairs").is_visible()
        assert not page.get_by_role("button", name="Reset the filters").is_visible()


def test_a_part_that_is_gone_is_said_on_the_page(served: Served, open_page: OpenPage) -> None:
    store = PartStore(served.root)
    (part,) = load(served.root, RUN).parts_of("judgments")
    page = open_page(served.address).page
    answered(page, 1)
    first = shown(page)
    away = store.path(part).rename(served.root / "away")
    try:
        page.keyboard.press("j")
        page.get_by_role("alert").get_by_text(part.key).wait_for()
        assert shown(page) == first
    finally:
        away.rename(store.path(part))
    then(page, lambda: page.keyboard.press("j"))
    assert not page.get_by_role("alert").is_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE])
def test_everybody_can_use_it(served: Served, look: Callable[..., Opened], dark: bool, width: int) -> None:
    write_flag(served.root, flag_now(served.pairs[0].pair_id, RUN, "why"))
    opened = look(f"?pair={served.pairs[0].pair_id}", dark=dark, width=width)
    opened.page.locator("#panel").evaluate("panel => { panel.open = true; }")
    assert opened.inaccessible() == []
    assert opened.overflow() == 0
    tops = [opened.page.locator(f".response.{side}").bounding_box() for side in ("chosen", "rejected")]
    assert tops[0] and tops[1] and (tops[0]["y"] == tops[1]["y"]) == (width > PHONE)
    opened.page.keyboard.press("?")
    assert opened.inaccessible() == []
    assert opened.overflow() == 0


def test_a_taken_port_is_said(served: Served) -> None:
    for port in (served.port, 70_000):
        with pytest.raises(SettingsError, match=str(port)) as caught:
            listen(port)
        assert "--port 0" in caught.value.next_step
