"""A person in Debian's Chromium: chats, stops, tries again, corrects, rates, votes; the exported files hold exactly that."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privllm.serve.app import arena_app, chat_app
from privllm.serve.auth import new_token
from privllm.serve.database import Database
from privllm.serve.engine.local import LocalEngine
from privllm.serve.feedback_export import export_feedback
from tests.serve.browsing import NEEDS_CHROMIUM, until
from tests.serve.fakes import Parrot
from tests.serve.live import live

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
OLD, NEW = "a1" * 20, "b2" * 20


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_chat_by_keyboard_is_corrected_and_kept(page: Any, exported: Callable[..., Path], tmp_path: Path) -> None:
    database, engine = Database(tmp_path / "p.sqlite"), LocalEngine.open(exported())
    with live(chat_app(engine, database)) as url:
        page.goto(url)
        page.wait_for_selector("#note:not([hidden])")
        assert "was not tuned to answer" in page.inner_text("#note")
        page.click("summary")
        page.fill("#rater", "Eva")
        page.fill("#most", "12")
        page.press("#temperature", "Home")  # 0.00: greedy
        assert page.inner_text("#warmth") == "0.00"
        page.focus("#say")
        page.keyboard.type("the page")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("<img src=x onerror=alert(1)>")
        page.keyboard.press("Enter")
        page.wait_for_selector(".reply .tools")
        reply = page.text_content(".reply .text")
        page.get_by_role("button", name="Bad").click()
        page.wait_for_selector("text=Saved.")
        page.get_by_role("button", name="Correct").press("Enter")
        page.keyboard.press("Control+A")
        page.keyboard.type("a <b>store</b> 🙂")
        page.keyboard.press("Tab")
        page.keyboard.type("it was wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector(".better", state="detached")

        page.fill("#most", "4096")
        page.focus("#say")
        page.keyboard.type("the row")
        page.keyboard.press("Enter")
        page.wait_for_selector("#stop:not([hidden])")
        until(page, "document.querySelectorAll('.reply .text')[1].textContent.length > 20")
        page.keyboard.press("Escape")
        page.wait_for_selector("text=Stopped.")
        stopped = page.locator(".reply .text").nth(1).text_content()
        page.fill("#most", "5")
        page.get_by_role("button", name="Try again").click()
        until(page, "document.querySelectorAll('.reply .tools').length === 2")
        again = page.locator(".reply .text").nth(1).text_content()
        assert stopped.startswith(again[:5])
        page.get_by_role("button", name="Good").nth(1).click()
        until(
            page, "[...document.querySelectorAll('[role=status]')].filter(e => e.textContent === 'Saved.').length === 2"
        )
        assert page.locator("img").count() == 0
    export_feedback(database, tmp_path / "data/feedback")
    first, second = lines(tmp_path / "data/feedback/ratings.jsonl")
    assert first["messages"] == [{"role": "user", "content": "the page\n<img src=x onerror=alert(1)>"}]
    assert (first["reply"], first["thumb"], first["rater"]) == (reply, "down", "Eva")
    assert (first["correction"], first["reason"]) == ("a <b>store</b> 🙂", "it was wrong")
    assert first["model"] == {"name": "handbook-1", "revision": "", "digest": engine.served.model.digest}
    assert (first["decoding"]["temperature"], first["decoding"]["max_tokens"]) == (0.0, 12)
    assert (second["reply"], second["thumb"], second["correction"], second["decoding"]["max_tokens"]) == (
        again,
        "up",
        "",
        5,
    )
    assert second["messages"] == [{"role": "user", "content": "the row"}]  # an untuned model sees the last message only
    assert stopped not in (tmp_path / "data/feedback/ratings.jsonl").read_text("utf-8") or stopped == again


def test_a_long_chat_says_what_was_cut_and_what_is_no_longer_seen(
    page: Any, exported: Callable[..., Path], tmp_path: Path
) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(LocalEngine.open(exported(tuned=True)), database)) as url:
        page.goto(url)
        page.click("summary")
        page.fill("#most", "12")
        page.press("#temperature", "Home")
        for turn in range(4):
            page.fill("#say", f"the page {turn} keeps every row of its own")
            page.press("#say", "Enter")
            until(page, f"document.querySelectorAll('.reply .tools').length === {turn + 1}")
        first, last = (page.locator(".reply").nth(turn).text_content() for turn in (0, 3))
        assert "Cut off" in first
        assert "left out" not in first
        (left_out,) = re.findall(r"The first (\d) messages were left out", last)
        page.get_by_role("button", name="Good").nth(3).click()
        page.wait_for_selector("text=Saved.")
    (rating,) = database.ratings()
    assert len(rating.messages) == 7 - int(left_out)  # what the model was given


@pytest.mark.parametrize(
    ("key", "choice"), [("ArrowLeft", "left"), ("2", "right"), ("3", "tie"), ("ArrowDown", "both_bad")]
)
def test_a_vote_is_blind_until_it_is_cast(page: Any, key: str, choice: str, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(
        arena_app([Parrot("old-model", OLD, "one two"), Parrot("new-model", NEW, "three <b>four</b>")], database)
    ) as url:
        page.goto(url)
        page.fill("#say", "which?")
        page.keyboard.press("Enter")
        page.wait_for_selector("#voting:not([hidden])")
        before = page.content()
        assert not re.search("old-model|new-model|a1a1|b2b2|digest", before)
        texts = {side: page.text_content(f"#{side} .text") for side in ("left", "right")}
        page.fill("#reason", "123 why")  # digits in a field are text, not votes
        page.keyboard.press("Escape")
        page.keyboard.press(key)
        page.wait_for_selector("table")
        assert page.inner_text("#told").startswith("Your vote is saved: ")
        assert page.is_visible("#told")
        assert {"old-model at a1a1a1a1a", "new-model at b2b2b2b2b"} <= set(
            re.findall(r"\w+-model at \w+", page.inner_text("#sides"))
        )
    export_feedback(database, tmp_path / "data/feedback")
    (vote,) = lines(tmp_path / "data/feedback/votes.jsonl")
    assert (vote["choice"], vote["reason"], vote["rater"]) == (choice, "123 why", "anonymous")
    assert {side: vote[side]["text"] for side in texts} == texts
    assert vote["left"]["model"]["revision"] == (OLD if texts["left"] == "one two " else NEW)
    assert vote["messages"] == [{"role": "user", "content": "which?"}]


def played(page: Any, url: str) -> None:
    page.goto(url)
    page.fill("#say", "which?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#voting:not([hidden])")


def test_a_vote_is_taken_back_in_sight_and_by_keys(page: Any, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    models = [Parrot("old-model", OLD, "one " * 400), Parrot("new-model", NEW, "two " * 400)]
    with live(arena_app(models, database)) as url:
        played(page, url)
        assert not page.is_visible("#back")
        page.keyboard.press("1")
        page.wait_for_selector("table")
        box, height = page.locator("#back").bounding_box(), page.viewport_size["height"]
        assert 0 < box["y"] < box["y"] + box["height"] <= height  # in sight, however long the replies
        assert len(database.votes()) == 1
        page.focus("#say")  # where it is already, but for a phone, whose keyboard would hide the names
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.id") == "back"
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Your vote was taken back")
        assert database.votes() == []
        assert not page.is_visible("#back")
        assert page.locator("table, .chosen").count() == 0
        page.fill("#say", "and now?")
        page.keyboard.press("Enter")
        page.wait_for_selector("#voting:not([hidden])")
        assert page.inner_text("#told") == ""
        page.keyboard.press("4")
        page.wait_for_selector("#back:not([hidden])")
    assert [vote.choice for vote in database.votes()] == ["both_bad"]


def test_a_vote_that_cannot_be_taken_back_is_said_to_count(page: Any, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(arena_app([Parrot("old-model", OLD, "one"), Parrot("new-model", NEW, "two")], database)) as url:
        played(page, url)
        page.keyboard.press("2")
        page.wait_for_selector("#back:not([hidden])")
        busy = '{"error": {"message": "busy: try again shortly."}}'
        page.route("**/vote", lambda route: route.fulfill(status=503, body=busy, content_type="application/json"))
        page.click("#back")
        page.wait_for_selector("text=busy: try again shortly. Your vote still counts.")
        page.unroute("**/vote")
        page.click("#back")
        page.wait_for_selector("text=Your vote was taken back")
    assert database.votes() == []


def test_the_page_asks_for_the_token_and_keeps_it_for_the_tab(browser: Any, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    token = new_token(database, "eva")
    with live(chat_app(Parrot("m", "", "hello there"), database)) as url:
        page = browser.new_page()
        page.goto(url)
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=That token does not work")
        page.fill("#token", token)
        page.keyboard.press("Enter")
        until(page, "document.getElementById('rater').value === 'eva'")
        assert page.is_disabled("#rater")
        page.reload()
        until(page, "document.getElementById('rater').value === 'eva'")
        page.fill("#say", "hi")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=hello there")
        assert page.evaluate("localStorage.length") == 0
        page.close()
