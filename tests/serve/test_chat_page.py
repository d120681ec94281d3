"""What the chat page does with messages, by hand: Markdown, copies, edits, continuations, drafts, history, and who may use it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from privllm.serve.app import arena_app, chat_app
from privllm.serve.database import Database
from privllm.serve.engine.base import Done, GenerationRequest, RequestRefused, ServedModel, Text
from tests.serve.axe import violations
from tests.serve.browsing import NEEDS_CHROMIUM, until
from tests.serve.fakes import Parrot
from tests.serve.live import live

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
MARKDOWN = """# Title

**bold** `x` <b onclick="alert(1)">raw</b> <img src=x onerror=alert(1)> ![pic](http://x.example/p.png)

```python
def f(x: int) -> str:  # how
    return "<script>alert(2)</script>"
```

| a | b |
|---|---|
| 1 | 2 |

> quote with [a link](https://example.org/), [a trap](javascript:alert(3)) and [another](data:text/html,x)"""


class Model(Parrot):
    """Answers messages: the last one is repeated where it is `echo ...`, and others have their ways."""

    def __init__(self, says: str = MARKDOWN, pause: float = 0.0) -> None:
        super().__init__("m", "", says, pause)
        self.served = ServedModel(self.served.model, True, 1000)
        self.asked: list[GenerationRequest] = []

    async def stream(self, ask: GenerationRequest) -> AsyncIterator[Text | Done]:
        assert ask.messages
        self.asked.append(ask)
        question = ask.messages[-1].content
        if question == "fail":
            raise RequestRefused(503, "the model failed.")
        said = question.removeprefix("echo ") if question.startswith("echo ") else self.says
        left_out = 2 if question.endswith("long") else 0
        yield Text(said[: len(said) // 2], left_out=left_out)
        if question == "hang":
            async for event in super().stream(ask):
                yield event
        yield Text(said[len(said) // 2 :], left_out=left_out)
        yield Done("length" if question == "cut" else "stop", 3, 5, left_out)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "p.sqlite")


def ask(page: Any, words: str) -> None:
    replies = page.locator(".reply").count()
    page.fill("#say", words)
    page.press("#say", "Enter")
    until(page, f"document.querySelectorAll('.reply:not([aria-busy=true]) .tools').length > {replies}")


def test_markdown_is_shown_and_nothing_in_it_runs(page: Any, model: Model, database: Database) -> None:
    with live(chat_app(model, database)) as url:
        page.goto(url)
        ask(page, "<img src=x onerror=alert(1)> **plain**")
        assert page.inner_text(".said .text") == "<img src=x onerror=alert(1)> **plain**"
        assert page.inner_text(".reply .text strong") == "bold"
        assert page.inner_text(".reply .text .heading") == "Title"
        assert page.inner_text(".reply td >> nth=0") == "1"
        assert page.locator(".hljs-keyword").first.inner_text() == "def"
        assert page.locator("#talk :is(img, script, b, iframe)").count() == 0
        links = page.eval_on_selector_all(
            ".reply a", "links => links.map(link => [link.getAttribute('href'), link.target, link.rel])"
        )
        assert links == [
            [href, "_blank", "noopener noreferrer nofollow"] for href in ("http://x.example/p.png", "https://example.org/")
        ]  # fmt: skip
        attributes = page.evaluate(
            "[...new Set([...document.querySelectorAll('.reply .text *')].flatMap(e => e.getAttributeNames()))].sort()"
        )
        allowed = {
            "class",
            "href",
            "target",
            "rel",
            "role",
            "tabindex",
            "type",
            "aria-hidden",
            "aria-label",
            "aria-level",
            "aria-live",
        }
        assert set(attributes) <= allowed
        page.locator(".code .copy").click()
        page.wait_for_selector("text=Copied")
        assert (
            page.evaluate("navigator.clipboard.readText()")
            == 'def f(x: int) -> str:  # how\n    return "<script>alert(2)</script>"\n'
        )
        page.click("summary")
        page.uncheck("#markdown")
        assert page.text_content(".reply .text") == MARKDOWN


def test_a_question_is_edited_and_sent_again(page: Any, model: Model, database: Database) -> None:
    with live(chat_app(model, database)) as url:
        page.goto(url)
        page.click("summary")
        page.fill("#system", "Be brief.")
        ask(page, "echo one")
        ask(page, "echo two")
        ask(page, "echo three")
        page.get_by_role("button", name="Edit").nth(1).click()
        page.fill(".better textarea", "echo 2")
        page.keyboard.press("Escape")  # keeps what was typed
        page.get_by_role("button", name="Edit").nth(1).click()
        assert page.input_value(".better textarea") == "echo 2"
        page.get_by_role("button", name="Send", exact=True).first.click()
        until(page, "document.querySelectorAll('.reply .text').length === 2")
        until(page, "document.querySelectorAll('.reply .text')[1].textContent.trim() === '2'")
        page.get_by_role("button", name="Good").nth(1).click()
        page.wait_for_selector("text=Saved.")
    (rating,) = database.ratings()
    said = [(message.role, message.content) for message in rating.messages]
    assert said == [("system", "Be brief."), ("user", "echo one"), ("assistant", "one"), ("user", "echo 2")]


def test_a_reply_that_was_cut_is_written_on_and_rated_as_one(page: Any, model: Model, database: Database) -> None:
    model.says = "one two "
    with live(chat_app(model, database)) as url:
        page.goto(url)
        ask(page, "cut")
        page.get_by_role("button", name="Continue").click()
        until(page, "document.querySelector('.reply .text').textContent.trim() === 'one two one two'")
        until(page, "document.querySelector('.reply').getAttribute('aria-busy') === 'false'")
        page.get_by_role("button", name="Bad").click()
        page.wait_for_selector("text=Saved.")
    assert model.asked[1].begun == "one two "
    assert database.ratings()[0].reply == "one two one two "


def test_what_was_left_out_is_known_of_a_reply_that_is_stopped(page: Any, database: Database) -> None:
    class Slow(Model):
        async def stream(self, ask: GenerationRequest) -> AsyncIterator[Text | Done]:
            assert ask.messages
            left_out = 2 if len(ask.messages) > 2 else 0
            for _ in range(400):
                async for event in Parrot.stream(self, ask):
                    if isinstance(event, Text):
                        yield Text(event.text, left_out=left_out)
                if not left_out:
                    break
            yield Done("stop", 3, 5, left_out)

    with live(chat_app(Slow("word", pause=0.05), database)) as url:
        page.goto(url)
        ask(page, "first")
        page.fill("#say", "second")
        page.press("#say", "Enter")
        until(page, "document.querySelectorAll('.reply .text')[1]?.textContent.length > 10")
        page.keyboard.press("Escape")
        page.wait_for_selector("text=Stopped. The first 2 messages were left out")
        page.get_by_role("button", name="Good").nth(1).click()
        page.wait_for_selector("text=Saved.")
    assert [message.content for message in database.ratings()[0].messages] == ["second"]


def test_a_typed_correction_is_not_lost_and_a_rating_is_taken_back(page: Any, model: Model, database: Database) -> None:
    questions: list[str] = []
    answer = False

    def on_dialog(dialog: Any) -> None:
        questions.append(dialog.message)
        dialog.accept() if answer else dialog.dismiss()

    page.on("dialog", on_dialog)
    with live(chat_app(model, database)) as url:
        page.goto(url)
        ask(page, "echo one")
        page.get_by_role("button", name="Correct").click()
        page.fill("[name=correction]", "what it should have said")
        page.keyboard.press("Escape")
        assert page.locator(".better").count() == 0
        assert "kept" in page.get_by_role("button", name="Correct").get_attribute("class")
        page.click("#anew")
        page.get_by_role("button", name="Try again").click()
        assert len(questions) == 2
        assert page.locator(".reply").count() == 1  # both times it was asked, and the answer was no
        page.get_by_role("button", name="Correct").click()
        assert page.input_value("[name=correction]") == "what it should have said"
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector("text=Saved.")
        assert database.ratings()[0].correction == "what it should have said"
        page.get_by_role("button", name="Take back").click()
        page.wait_for_selector("text=Taken back.")
        assert database.ratings() == []
        page.get_by_role("button", name="Good").click()
        page.wait_for_selector("text=Saved.")
        page.get_by_role("button", name="Good").click()  # the same thumb once more
        page.wait_for_selector("text=Taken back.")
        assert database.ratings() == []
        page.click("#anew")
        assert page.locator(".reply").count() == 0
        assert len(questions) == 2


def test_chats_are_kept_in_the_browser_only_for_who_wants_that(page: Any, model: Model, database: Database) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    with live(chat_app(model, database)) as url:
        page.goto(url)
        ask(page, "echo never kept")
        assert page.evaluate("localStorage.length") == 0
        page.click("#anew")
        page.click("summary")
        page.check("#keep")
        ask(page, "echo the first chat")
        page.get_by_role("button", name="Good").click()
        page.wait_for_selector("text=Saved.")
        page.click("#anew")
        ask(page, "echo another <b>chat</b>")
        page.reload()
        page.click("#past")
        assert page.locator(".chats li").count() == 2
        page.fill("#search", "FIRST")
        until(page, "document.querySelectorAll('.chats li').length === 1")
        page.locator(".chats .open").click()
        until(page, "document.querySelector('.reply .text').textContent.trim() === 'the first chat'")
        page.get_by_role("button", name="Take back").click()  # a rating of an opened chat is still one's own
        page.wait_for_selector("text=Taken back.")
        ask(page, "echo and on")
        page.click("#past")
        with page.expect_download() as download:
            page.get_by_role("button", name="Export all").click()
        exported = json.loads(Path(download.value.path()).read_text("utf-8"))
        assert sorted(len(chat["turns"]) for chat in exported) == [2, 4]
        page.locator(".chats li").first.get_by_role("button", name="Delete").click()
        until(page, "document.querySelectorAll('.chats li').length === 1")
        page.get_by_role("button", name="Close").click()
        page.click("summary")
        page.uncheck("#keep")
        assert page.evaluate("localStorage.length") == 0


def test_enter_that_ends_a_composition_sends_nothing(page: Any, model: Model, database: Database) -> None:
    with live(chat_app(model, database)) as url:
        page.goto(url)
        page.fill("#say", "echo にほ")
        composing = "new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true, %s})"
        for how in ("isComposing: true", "keyCode: 229"):
            page.evaluate(f"document.getElementById('say').dispatchEvent({composing % how})")
        assert page.locator(".said").count() == 0
        assert page.input_value("#say") == "echo にほ"
        page.press("#say", "Enter")
        page.wait_for_selector(".reply .tools")


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : colour.index(")")].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_edges_of_fields_are_seen(page: Any, model: Model, database: Database, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    with live(chat_app(model, database)) as url:
        page.goto(url)
        ask(page, "echo one")
        page.click("summary")
        page.get_by_role("button", name="Correct").click()
        fields = page.evaluate("""[...document.querySelectorAll('textarea, input:not([type=range], [type=checkbox])')].map(field => {
            let around = field.parentElement;
            while (getComputedStyle(around).backgroundColor === 'rgba(0, 0, 0, 0)') around = around.parentElement;
            return [field.id || field.name, getComputedStyle(field).borderTopColor, getComputedStyle(around).backgroundColor];
        })""")
    assert len(fields) == 6
    assert {name: contrast(edge, ground) for name, edge, ground in fields if contrast(edge, ground) < 3} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Any, database: Database, scheme: str, axe_program: str) -> None:
    page.emulate_media(color_scheme=scheme)
    found: dict[str, list[str]] = {}

    def look(state: str) -> None:
        found[state] = violations(page, axe_program)

    with live(chat_app(Model(pause=0.3), database)) as url:
        page.goto(url)
        until(page, "document.title === 'm'")
        look("empty")
        ask(page, "cut")
        look("a reply")
        page.get_by_role("button", name="Correct").click()
        page.keyboard.type("x")
        page.click("summary")
        look("a correction and settings")
        page.check("#keep")
        page.click("summary")
        ask(page, "fail")
        look("failed")
        page.click("#past")
        look("history")
        page.get_by_role("button", name="Close").click()
        page.fill("#say", "hang")
        page.press("#say", "Enter")
        page.wait_for_selector("#stop:not([hidden])")
        look("busy")
        page.click("#stop")
        page.wait_for_selector("text=Stopped.")
    assert {state: faults for state, faults in found.items() if faults} == {}
    assert len(found) == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_arena(page: Any, database: Database, scheme: str, axe_program: str) -> None:
    page.emulate_media(color_scheme=scheme)
    found: dict[str, list[str]] = {}

    def look(state: str) -> None:
        found[state] = violations(page, axe_program)

    parrots = [Parrot("old-model", "a" * 40, "one two"), Parrot("new-model", "b" * 40, "three four")]
    with live(arena_app(parrots, database)) as url:
        page.goto(url)
        look("arena")
        page.fill("#say", "which?")
        page.press("#say", "Enter")
        page.wait_for_selector("#voting:not([hidden])")
        look("arena, voting")
        page.get_by_role("button", name="Tie").click()
        page.wait_for_selector("table")
        look("arena, voted")
    assert {state: faults for state, faults in found.items() if faults} == {}
    assert len(found) == 3
