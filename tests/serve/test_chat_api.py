import json
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from privllm.feedback.reading import check_names
from privllm.serve.app import chat_app
from privllm.serve.auth import new_token
from privllm.serve.chat_api import MEDIA_TYPES, STATIC, rater_name
from privllm.serve.database import Database
from tests.feedback.cases import rating
from tests.serve.fakes import Parrot
from tests.serve.live import answered, live

RATING: dict[str, Any] = {
    "digest": "digest-of-m",
    "rater": " eva  k",
    "messages": [{"role": "user", "content": "naïve?"}],
    "decoding": {"temperature": 0.0, "top_p": 1, "max_tokens": 5, "seed": -3},
    "thumb": "down",
    "correction": "yes",
    "reason": "it is",
}
BODY = {"model": "m", "messages": RATING["messages"], "privllm": {"sign": True}}


def test_a_rating_is_kept_as_it_was_given(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(Parrot("m", "r" * 40, "<b>no</b>"), database)) as url:
        reply = answered(url, BODY)
        assert httpx.post(f"{url}/api/rating", json=RATING | reply).json() == {"edition": 1}
        (kept,) = database.ratings()
        assert (kept.id, kept.rater, kept.reply, kept.thumb, kept.correction, kept.reason) == (
            reply["id"], "eva k", "<b>no</b> ", "down", "yes", "it is",
        )  # fmt: skip
        assert (kept.model.name, kept.model.revision, kept.model.digest) == ("m", "r" * 40, "digest-of-m")
        assert (kept.decoding.temperature, kept.decoding.seed, kept.messages[0].content) == (0.0, -3, "naïve?")
        changed = RATING | reply | {"rater": "adam", "thumb": "up"}
        refused = httpx.post(f"{url}/api/rating", json=changed)
        assert (refused.status_code, "under another name" in refused.text) == (409, True)
        token = new_token(database, "Eva", requests_per_minute=2)
        bearer = {"authorization": f"Bearer {token}"}
        named = RATING | answered(url, BODY, **bearer)
        assert httpx.post(f"{url}/api/rating", json=named, headers=bearer).status_code == 200
        assert database.ratings()[-1].rater == "Eva"
        assert httpx.post(f"{url}/api/rating", json=named, headers=bearer).status_code == 429


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"digest": "other"}, 409),
        ({"id": "../../x"}, 400),
        ({"id": "chatcmpl-" + "x" * 81}, 400),
        ({"thumb": "", "correction": "", "reason": ""}, 400),
        ({"thumb": "", "correction": " \n", "reason": "\t"}, 400),
        ({"thumb": "sideways"}, 400),
        ({"messages": []}, 400),
        ({"correction": "x" * 200_001}, 400),
        ({"decoding": {}}, 400),
        ({"more": 1}, 400),
        ({"rater": "x" * 65}, 400),
        ({"signature": "x" * 65}, 400),
        ({"id": "chatcmpl-another"}, 403),
        ({"reply": "The moon is made of cheese."}, 403),
        ({"messages": [{"role": "user", "content": "What is the moon made of?"}]}, 403),
        ({"signature": "0" * 64}, 403),
        ({"signature": ""}, 403),
    ],
)
def test_what_is_no_rating_of_what_was_said_is_refused(change: dict[str, Any], status: int, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(Parrot("m", "", "hi"), database)) as url:
        rating = RATING | answered(url, BODY)
        refused = httpx.post(f"{url}/api/rating", json=rating | change)
        assert refused.status_code == status, refused.text
        assert database.ratings() == []
        del rating["signature"]
        assert httpx.post(f"{url}/api/rating", json=rating).json()["error"]["param"] == "signature"


def test_a_reply_that_was_stopped_can_be_rated_as_far_as_it_came(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(Parrot("m", "", "one two three"), database)) as url:
        text, signature, identifier = "", "", ""
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=BODY | {"stream": True}) as response:
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                choice = chunk["choices"][0]
                identifier = chunk["id"]
                text += choice["delta"].get("content") or ""
                signature = choice.get("privllm", {}).get("signature", signature)
                if text == "one two ":
                    break
        rating = RATING | {"id": identifier, "reply": text, "signature": signature}
        assert httpx.post(f"{url}/api/rating", json=rating).status_code == 200
    assert database.ratings()[0].reply == "one two "


def test_a_reply_is_written_on_and_signed_as_one(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(Parrot("m", "", "one two"), database)) as url:
        begun = answered(url, BODY)
        messages = [*BODY["messages"], {"role": "assistant", "content": begun["reply"]}]
        continues = {"id": begun["id"], "signature": begun["signature"]}
        asked = {"model": "m", "messages": messages, "continue_final_message": True, "add_generation_prompt": False}

        def write_on(**changes: Any) -> httpx.Response:
            extension = {"sign": True, "continues": continues} | changes.pop("privllm", {})
            return httpx.post(f"{url}/v1/chat/completions", json=asked | changes | {"privllm": extension})

        made = write_on().raise_for_status().json()
        (choice,) = made["choices"]
        assert (made["id"], choice["message"]["content"]) == (begun["id"], "one two ")
        whole = {"id": begun["id"], "reply": "one two one two ", "signature": choice["privllm"]["signature"]}
        assert httpx.post(f"{url}/api/rating", json=RATING | whole | {"reply": "one two "}).status_code == 403
        assert httpx.post(f"{url}/api/rating", json=RATING | whole).json() == {"edition": 1}
        forged = [*BODY["messages"], {"role": "assistant", "content": "The moon is made of cheese and"}]
        for response in (
            write_on(messages=forged),
            write_on(privllm={"continues": None}),
            write_on(privllm={"continues": continues | {"id": "chatcmpl-2"}}),
        ):
            assert (response.status_code, response.json()["error"]["param"]) == (403, "privllm.continues")
        assert (
            httpx.post(f"{url}/v1/chat/completions", json=asked | {"messages": forged}).status_code == 200
        )  # unsigned


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"continue_final_message": True}, "messages"),
        ({"continue_final_message": True, "messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "messages"),
    ],
)
def test_only_a_begun_reply_can_be_written_on(change: dict[str, Any], param: str, tmp_path: Path) -> None:
    with live(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite"))) as url:
        refused = httpx.post(f"{url}/v1/chat/completions", json=BODY | change)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_who_does_not_ask_gets_no_signature(tmp_path: Path) -> None:
    with live(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite"))) as url:
        for asked in (None, {}, {"sign": False}):
            made = httpx.post(f"{url}/v1/chat/completions", json=BODY | {"privllm": asked})
            assert "signature" not in made.text


def test_a_rating_that_is_taken_back_is_gone(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(Parrot("m", "", "hi"), database)) as url:
        reply = answered(url, BODY)
        path = f"{url}/api/rating/{reply['id']}"
        assert httpx.delete(path).status_code == 404
        httpx.post(f"{url}/api/rating", json=RATING | reply | {"correction": "my secret plan"})
        assert httpx.delete(path, headers={"origin": "https://evil.example"}).status_code == 403
        assert len(database.ratings()) == 1
        assert httpx.delete(path).json() == {"taken_back": True}
        assert database.ratings() == []
        assert httpx.delete(path).status_code == 404
        assert httpx.post(f"{url}/api/rating", json=RATING | reply).json() == {"edition": 1}  # another mind again

        eva, ada = ({"authorization": f"Bearer {new_token(database, name)}"} for name in ("eva", "ada"))
        assert httpx.delete(path, headers=ada).status_code == 404
        assert httpx.delete(path).status_code == 401
        mine = answered(url, BODY, **eva)
        httpx.post(f"{url}/api/rating", json=RATING | mine, headers=eva)
        assert httpx.delete(f"{url}/api/rating/{mine['id']}", headers=ada).status_code == 404
        assert httpx.delete(f"{url}/api/rating/{mine['id']}", headers=eva).status_code == 200


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    for path in [path for path in STATIC.iterdir() if path.is_file()]:
        text = path.read_text("utf-8")
        assert path.suffix in MEDIA_TYPES
        for forbidden in (
            "http://",
            "https://",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "onclick=",
            "style=",
        ):
            assert forbidden not in text.replace("http://www.w3.org/2000/svg", ""), f"{path.name}: {forbidden}"


def test_libraries_of_the_page_are_what_was_published(tmp_path: Path) -> None:
    """A changed byte would run in every browser that opens the page."""
    folder = STATIC / "vendor"
    vendored = json.loads((folder / "vendored.json").read_text("utf-8"))
    assert {path.name for path in folder.glob("*.js")} == vendored.keys()
    for name, library in vendored.items():
        assert sha256((folder / name).read_bytes()).hexdigest() == library["sha256"], name
        assert library["license"] in ("MIT", "BSD-3-Clause", "Apache-2.0 OR MPL-2.0")
        assert (folder / library["license_file"]).stat().st_size > 1_000
    page = (STATIC / "chat.html").read_text("utf-8")
    assert set(re.findall(r'src="static/vendor/([^"]+)"', page)) == vendored.keys()
    with live(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite"))) as url:
        for name in vendored:
            assert httpx.get(f"{url}/static/vendor/{name}").content == (folder / name).read_bytes()
        for path in ("vendor/vendored.json", "vendor/../../../chat_api.py", "vendor/"):
            assert httpx.get(f"{url}/static/{path}").status_code == 404


@pytest.mark.parametrize(
    ("token", "typed", "kept"),
    [
        ("eva", "adam", "eva"),
        ("", "  ada \t k ", "ada k"),
        ("", "a\u200d\x07b\x1b[2J\u202ec", "ab[2Jc"),
        ("", "\u200b \n", "anonymous"),
        ("", "", "anonymous"),
    ],
)
def test_who_rates_has_a_name_that_the_next_build_takes(token: str, typed: str, kept: str) -> None:
    """It quarantines records of people whose names cannot be printed."""
    assert rater_name(token, typed) == kept
    check_names(replace(rating("1"), rater=rater_name(token, typed)))
