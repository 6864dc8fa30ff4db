"""Texts in a report that were written to break it: shown as they are, and nothing of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from flows.report.settings import HIDDEN, hide_secrets, list_settings
from flows.report.writing import write_report
from models.base import digest
from models.records import (
    Audit,
    CallFailure,
    Constraint,
    Judgment,
    Origin,
    Pair,
    PartRef,
    Response,
    Reversal,
    SystemProfile,
    Turn,
)
from models.settings import FactorySettings
from storage.catalog import build_catalog
from storage.manifests import Manifest, RunBook
from storage.parts import PartStore
from tests.browser import PHONE, OpenPage
from tests.report_page import table

SCRIPT = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">{{ 7 * 7 }}"
MARKUP = "</div></section><h1>taken over</h1><style>*{display:none}</style><a href='javascript:alert(1)'>&lt;b&gt;</a>"
RIGHT_TO_LEFT = "مرحبا بالعالم \u202eevil\u202c שלום"
EMOJI = "👩‍👩‍👧‍👦 🏳️‍🌈 naïve 汉字\u3000全角"
LONG = "unbroken" * 2500
CONTROL = "bell\x07 null\x00 next\x85 tab\there"


def write_run(
    root: Path,
    first: str,
    second: str,
    *,
    text: str = "Say it.",
    name: str | None = None,
    second_origin: Origin = "sampled",
    failure: str | None = None,
) -> None:
    """A run with a couple of responses to one turn, all of whose texts are given."""
    store = PartStore(root)
    store.ensure_schemas()
    settings = FactorySettings(data=str(root))
    constraint = Constraint(constraint_id="c", text=text, kind=text[:40])
    system = SystemProfile(
        system_id="s", role_id="r", language="en", name=text if name is None else name, description=text,
        skills=[text], questions=[text], constraints=[constraint], author=text,
    )  # fmt: skip
    turn = Turn(
        dialogue_id="d", turn=1, system_id="s", user_id="u", query=text, triggered_ids=["c"], reference=text,
        reference_score=1.0, reference_model=text,
    )  # fmt: skip
    responses = [
        Response(
            response_id=name, dialogue_id="d", turn=1, sample=sample, text=body, model=text, finish_reason=text,
            prompt_tokens=1, completion_tokens=1, origin="sampled" if sample == 0 else second_origin,
        )
        for sample, (name, body) in enumerate({"a": first, "b": second}.items())
    ]  # fmt: skip
    judgments = [
        Judgment(
            response_id=name, constraint_id="c", dialogue_id="d", turn=1, position=0, verdict=verdict, reason=text,
            judge=text, votes=1,
        )
        for name, verdict in (("a", "followed"), ("b", "violated"))
    ]  # fmt: skip
    pairs = [
        Pair(
            pair_id=f"{chosen}-{rejected}", dialogue_id="d", turn=1, chosen_id=chosen, rejected_id=rejected,
            reversed_ids=[] if chosen == "a" else ["c"], margin=1, noise_case=6,
        )
        for chosen, rejected in ("ab", "ba")
    ]  # fmt: skip
    audits = [
        Audit(pair_id="a-b", passed=True, chosen_violated=0, rejected_violated=1, undecided=0),
        Audit(pair_id="b-a", passed=False, chosen_violated=1, rejected_violated=1, undecided=0),
    ]
    reversal = Reversal(constraint_id="c", system_id="s", text=text, method=text, verified=True)
    failed = CallFailure(stage=text, role=text, model=text, kind=text, count=1, lost=1, example=first)
    rows: dict[str, Sequence[BaseModel]] = {
        "systems": [system], "turns": [turn], "responses": responses, "judgments": judgments, "pairs": pairs,
        "audits": audits, "reversals": [reversal], "failures": [failed],
    }  # fmt: skip
    parts: list[PartRef] = [store.write(name, digest([name, text, first]), found) for name, found in rows.items()]
    manifest = Manifest(
        run="demo", settings_hash="h", settings=settings.model_dump(mode="json"), started_at=datetime.now(UTC)
    )
    book = RunBook(root, manifest)
    book.add(parts)
    book.finish("failed", failure=failure)
    build_catalog(root)


@pytest.mark.parametrize("text", [SCRIPT, MARKUP, RIGHT_TO_LEFT, EMOJI, LONG, CONTROL])
def test_it_is_shown_as_text_and_runs_nothing(tmp_path: Path, open_page: OpenPage, text: str) -> None:
    write_run(tmp_path, text, f"second {text}", text=text, failure=text)
    path = write_report(tmp_path, "demo")
    opened = open_page(path, width=PHONE)
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    shown = text.translate({7: "\ufffd", 0: "\ufffd", 0x85: "\ufffd"})
    texts = page.locator(".text").all_text_contents()
    # the response, as a sample, as an audited one, and what failed with it as an example
    assert sum(found.strip() == shown for found in texts) >= 3
    assert any(found.strip() == f"second {shown}" for found in texts)
    assert shown in (page.locator(".notice").text_content() or "")
    assert page.title() == "Run demo: report"
    assert page.locator("script, img, iframe, object, form").count() == 0
    assert page.locator("h1").all_text_contents() == ["demo"] and page.locator("style").count() == 1
    assert opened.errors == [] and opened.requests == [path.as_uri()]
    assert opened.overflow() <= 0


def test_a_system_prompt_without_a_role(tmp_path: Path) -> None:
    write_run(tmp_path, "a", "b", name="")
    assert "The model is asked:" in write_report(tmp_path, "demo").read_text("utf-8")


def test_what_the_critic_rewrote_is_not_what_the_policy_follows(tmp_path: Path) -> None:
    write_run(tmp_path, "a", "b", text="kind", second_origin="refined")
    page = write_report(tmp_path, "demo")
    assert table(page, "Constraints followed, by kind") == [["kind", "100%", "1 of 1"]]
    [turn] = table(page, "Constraints and responses, by turn of the dialogue")
    assert turn[3] == "1 of 1"


def test_an_empty_run(tmp_path: Path) -> None:
    store = PartStore(tmp_path)
    store.ensure_schemas()
    settings = FactorySettings(data=str(tmp_path)).model_dump(mode="json")
    RunBook(tmp_path, Manifest(run="demo", settings_hash="h", settings=settings, started_at=datetime.now(UTC)))
    build_catalog(tmp_path)
    page = write_report(tmp_path, "demo").read_text("utf-8")
    assert "This run had not ended" in page and "No preference pairs" in page
    assert page.count("<strong>0</strong>") == 10  # boxes of the picture


def test_a_style_that_is_not_ours_is_refused(tmp_path: Path, open_page: OpenPage) -> None:
    """The policy of the page is what holds where escaping would not."""
    write_run(tmp_path, "a", "b")
    path = write_report(tmp_path, "demo")
    broken = path.with_name("broken.html")
    extra = "<style>h1 {display: none}</style><script>document.title = 'ran'</script>"
    broken.write_text(path.read_text("utf-8").replace("<body>", f"<body>{extra}"), "utf-8")
    opened = open_page(broken)
    assert opened.page.locator("h1").is_visible() and opened.page.title() == "Run demo: report"
    assert len(opened.errors) == 2


def test_of_an_address_only_its_place_is_shown() -> None:
    text = "endpoints.a.base_url = 'https://me:pw@host:1/v1?key=k#f', and ftp://b. See http://c/d, e@f."
    assert hide_secrets(text) == "endpoints.a.base_url = 'https://host:1/v1', and ftp://b. See http://c/d, e@f."
    assert hide_secrets("https://me:p@w@host/v1") == "https://host/v1"
    settings = {"endpoints": {"a": {"api_key_env": "sk-1", "serve": {"options": ["--api-key=k"]}, "model": "m"}}}
    assert [tuple(fact) for fact in list_settings(settings)] == [
        ("endpoints.a.api_key_env", HIDDEN),
        ("endpoints.a.serve.options", HIDDEN),
        ("endpoints.a.model", "m"),
    ]
