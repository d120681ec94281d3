from dataclasses import replace
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
from tests.serve.live import live

RATING: dict[str, Any] = {
    "id": "chatcmpl-abc",
    "digest": "digest-of-m",
    "rater": " eva  k",
    "messages": [{"role": "user", "content": "naïve?"}],
    "reply": "<b>no</b>",
    "decoding": {"temperature": 0.0, "top_p": 1, "max_tokens": 5, "seed": -3},
    "thumb": "down",
    "correction": "yes",
    "reason": "it is",
}


def test_a_rating_is_kept_as_it_was_given(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(Parrot("m", "r" * 40, "hi"), database)) as url:
        assert httpx.post(f"{url}/api/rating", json=RATING).json() == {"edition": 1}
        (kept,) = database.ratings()
        assert (kept.id, kept.rater, kept.reply, kept.thumb, kept.correction, kept.reason) == (
            "chatcmpl-abc", "eva k", "<b>no</b>", "down", "yes", "it is",
        )  # fmt: skip
        assert (kept.model.name, kept.model.revision, kept.model.digest) == ("m", "r" * 40, "digest-of-m")
        assert (kept.decoding.temperature, kept.decoding.seed, kept.messages[0].content) == (0.0, -3, "naïve?")
        changed = RATING | {"rater": "adam", "thumb": "up"}
        assert httpx.post(f"{url}/api/rating", json=changed).status_code == 409
        token = new_token(database, "Eva", requests_per_minute=1)
        named = RATING | {"id": "chatcmpl-def"}
        assert (
            httpx.post(f"{url}/api/rating", json=named, headers={"authorization": f"Bearer {token}"}).status_code == 200
        )
        assert database.ratings()[-1].rater == "Eva"
        assert (
            httpx.post(f"{url}/api/rating", json=named, headers={"authorization": f"Bearer {token}"}).status_code == 429
        )


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"digest": "other"}, 409),
        ({"id": "../../x"}, 400),
        ({"thumb": "", "correction": "", "reason": ""}, 400),
        ({"thumb": "sideways"}, 400),
        ({"messages": []}, 400),
        ({"correction": "x" * 200_001}, 400),
        ({"decoding": {}}, 400),
        ({"more": 1}, 400),
        ({"rater": "x" * 65}, 400),
    ],
)
def test_what_is_no_rating_is_refused(change: dict[str, Any], status: int, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(Parrot("m", "", "hi"), database)) as url:
        assert httpx.post(f"{url}/api/rating", json=RATING | change).status_code == status
    assert database.ratings() == []


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    for path in STATIC.iterdir():
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
