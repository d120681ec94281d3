"""Replies that are JSON. What needs llguidance is skipped where the extra `grammar` is not installed."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from privllm.serve.app import chat_app
from privllm.serve.database import Database
from privllm.serve.engine import grammar
from privllm.serve.engine.local import LocalEngine
from tests.serve.live import live

needs_library = pytest.mark.skipif(find_spec("llguidance") is None, reason="pip install 'privllm[grammar]'")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "naïve blue"]},
        "count": {"type": "integer", "minimum": 3, "maximum": 12},
        "done": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["colour", "count", "done", "tags"],
    "additionalProperties": False,
}
# It fails behind its first word, once a reply is being written.
ENDLESS: dict[str, Any] = {
    "type": "object",
    "properties": {"again": {"anyOf": [{"$ref": "#/$defs/loop"}]}},
    "required": ["again"],
    "additionalProperties": False,
    "$defs": {"loop": {"$ref": "#/$defs/loop"}},
}
MESSAGES = [{"role": "user", "content": "the page"}]


def formatted(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "page", "schema": schema, "strict": True}}


@pytest.fixture(params=[True, False], ids=["tuned", "untuned"])
def url(request: pytest.FixtureRequest, exported: Callable[..., Path], tmp_path: Path) -> Any:
    engine = LocalEngine.open(exported(tuned=request.param))
    with live(chat_app(engine, Database(tmp_path / "p.sqlite"))) as address:
        yield address


def ask(url: str, response_format: Any, **options: Any) -> httpx.Response:
    body = {"model": "handbook-1", "messages": MESSAGES, "max_tokens": 80, "temperature": 1.5, "seed": 1}
    return httpx.post(
        f"{url}/v1/chat/completions", json=body | options | {"response_format": response_format}, timeout=60
    )


@needs_library
def test_a_reply_follows_its_schema_whatever_the_model_would_say(url: str) -> None:
    made = ask(url, formatted(SCHEMA), n=6, presence_penalty=0.5, top_k=40).raise_for_status().json()
    texts = {choice["message"]["content"] for choice in made["choices"]}
    assert len(texts) > 1
    for text in texts:
        jsonschema.validate(json.loads(text), SCHEMA)
    assert {choice["finish_reason"] for choice in made["choices"]} == {"stop"}


@needs_library
def test_others_beside_it_say_what_they_say_alone(url: str) -> None:
    free = {"model": "handbook-1", "prompt": ["the page"] * 3, "max_tokens": 20, "temperature": 0}
    alone = [choice["text"] for choice in httpx.post(f"{url}/v1/completions", json=free).json()["choices"]]
    ask(url, formatted(SCHEMA))
    assert [choice["text"] for choice in httpx.post(f"{url}/v1/completions", json=free).json()["choices"]] == alone


@needs_library
def test_an_object_is_begun_and_cut_at_max_tokens(url: str) -> None:
    made = ask(url, {"type": "json_object"}, max_tokens=3).raise_for_status().json()["choices"][0]
    assert made["message"]["content"].startswith("{")
    assert made["finish_reason"] in ("length", "stop")


@needs_library
@pytest.mark.parametrize(
    ("response_format", "words"),
    [
        (formatted({"type": "nonsense"}), "cannot be followed"),
        (formatted({"$ref": "#/$defs/none"}), "cannot be followed"),
        (formatted({"$ref": "#"}), "it refers to itself without an end"),
        (formatted({"anyOf": [{"$ref": "#"}]}), "cannot be followed"),
        (formatted(ENDLESS), "cannot be followed"),
        (formatted(False), "no JSON fits it"),
        (formatted({"type": "string", "pattern": "("}), "unclosed group"),
        (formatted({"type": "integer", "multipleOf": 99_999_989}), "`multipleOf` may be 20,000 at most"),
        (formatted({"type": "number", "multipleOf": 999.99}), "`multipleOf` may be 20,000 at most"),
        (formatted({"anyOf": [{"type": "integer", "multipleOf": 9000 + i} for i in range(3)]}), "`multipleOf`"),
        (formatted({"type": "string", "pattern": "^(a{600}){600}$"}), "too many expressions"),
        ({"type": "json_schema"}, "send the schema"),
        ({"type": "xml"}, "response_format"),
        (formatted(5), "response_format"),
    ],
)
def test_what_is_no_schema_is_refused_by_name(url: str, response_format: Any, words: str) -> None:
    refused = ask(url, response_format)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert words in error["message"]
    assert error["param"].startswith("response_format")


@needs_library
def test_a_schema_is_compiled_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, compile_ = [], grammar.Grammars._compile

    def counted(self: grammar.Grammars, schema: str) -> Any:
        compiled.append(schema)
        return compile_(self, schema)

    monkeypatch.setattr(grammar.Grammars, "_compile", counted)
    for _ in range(2):
        made = ask(url, formatted(SCHEMA), n=3).raise_for_status().json()
        for choice in made["choices"]:
            jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
    assert len(compiled) == 1


@needs_library
def test_true_is_any_json(url: str) -> None:
    made = ask(url, formatted(True), temperature=0).raise_for_status().json()["choices"][0]
    if made["finish_reason"] == "stop":
        json.loads(made["message"]["content"])


def test_without_the_library_it_is_said_how_to_get_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "installed", lambda name: False)
    refused = ask(url, {"type": "json_object"})
    assert refused.status_code == 400
    assert "pip install 'privllm[grammar]'" in refused.json()["error"]["message"]
    assert ask(url, {"type": "text"}).status_code == 200
    assert ask(url, None).status_code == 200
