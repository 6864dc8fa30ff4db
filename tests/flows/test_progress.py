"""What a command says while it goes where nobody watches a terminal: a nightly job's log."""

from __future__ import annotations

import time

import pytest

from flows import run, terminal


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 0.05)
    with terminal.show_progress():
        assert run.listener is not None
        run.listener("play_dialogues", 4, 0)
        run.listener("play_dialogues", 0, 3)
        run.listener("judge_responses", 1, 1)
        time.sleep(0.3)
    assert run.listener is None
    said = capsys.readouterr()
    assert said.out == ""
    first, second, *_ = said.err.splitlines()
    assert first.endswith(" play dialogues 3 of 4, judge responses 1 of 1")
    # what is finished is said once
    assert second.endswith(" play dialogues 3 of 4")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
