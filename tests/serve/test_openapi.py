"""The OpenAPI document names every call, and describes requests as they are read. What is answered, schemathesis compares (nightly)."""

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi.routing import APIRoute

from privllm.feedback.records import Model
from privllm.serve.app import chat_app
from privllm.serve.auth import new_token
from privllm.serve.callers import LOCAL_HOSTS, callers_of
from privllm.serve.database import Database
from privllm.serve.engine.base import RequestRefused, ServedModel
from privllm.serve.openai_fields import parse
from privllm.serve.openai_requests import ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from privllm.serve.openapi import openapi_document
from tests.serve.fakes import Parrot
from tests.serve.live import live

WRITER = ServedModel(Model("m", "", "d"), True, 96)
READER = ServedModel(Model("m", "", "d"), None, 96, 32)
FOR_PAGES = {"/", "/api/page"}  # what the pages alone ask for


def validator(name: str) -> jsonschema.Draft202012Validator:
    components = openapi_document(WRITER)["components"]
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


@pytest.mark.parametrize("served", [WRITER, READER])
def test_every_call_is_described_and_no_other(
    served: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parrot = Parrot("m", "", "x")
    parrot.served = served
    monkeypatch.setattr("privllm.serve.app.create_app", lambda engines, routers, *others: routers)
    routers: Any = chat_app(parrot, Database(tmp_path / "p.sqlite"))
    calls = set()
    for route in [route for router in routers for route in router.routes]:
        if isinstance(route, APIRoute) and route.path not in FOR_PAGES and not route.path.startswith("/static/"):
            calls |= {(method.lower(), route.path.replace(":path", "")) for method in route.methods}
    described = openapi_document(served)["paths"]
    assert calls == {(method, path) for path, methods in described.items() for method in methods}
    assert ("/api/rating" in described) == (served is WRITER)


def test_every_reference_leads_somewhere() -> None:
    document = openapi_document(READER)
    names = document["components"]["schemas"]
    for text in json.dumps(document).split('"$ref": "')[1:]:
        assert text.split('"')[0].removeprefix("#/components/schemas/") in names
    for schema in names.values():
        jsonschema.Draft202012Validator.check_schema(schema)


CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
SAMPLES: list[tuple[type[Any], dict[str, Any], bool]] = [
    (ChatCompletionRequest, CHAT, True),
    (ChatCompletionRequest, CHAT | {"temperature": None, "seed": None, "top_k": None, "anything": 5}, True),
    (ChatCompletionRequest, CHAT | {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, True),
    (ChatCompletionRequest, CHAT | {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, False),
    (ChatCompletionRequest, CHAT | {"messages": []}, False),
    (ChatCompletionRequest, {"model": "m"}, False),
    (ChatCompletionRequest, CHAT | {"top_p": 0}, False),
    (ChatCompletionRequest, CHAT | {"repetition_penalty": 0.001}, False),
    (ChatCompletionRequest, CHAT | {"logit_bias": {}}, True),
    (ChatCompletionRequest, CHAT | {"logit_bias": {"1": 2}}, False),
    (CompletionRequest, {"model": "m", "prompt": [[1, 2]], "echo": True}, True),
    (CompletionRequest, {"model": "m", "prompt": [["x"]]}, False),
    (CompletionRequest, {"model": "m", "prompt": "x", "n": 65}, False),
    (EmbeddingRequest, {"model": "m", "input": ["x"], "encoding_format": "base64"}, True),
    (EmbeddingRequest, {"model": "m", "input": [1.5]}, False),
    (EmbeddingRequest, {"model": "m", "input": "x", "dimensions": 0}, False),
]


@pytest.mark.parametrize(("request_class", "sent", "taken"), SAMPLES)
def test_the_document_takes_what_the_server_takes(request_class: type[Any], sent: dict[str, Any], taken: bool) -> None:
    assert validator(request_class.__name__).is_valid(sent) is taken
    try:
        parse(request_class, json.dumps(sent).encode())
    except RequestRefused:
        assert not taken
    else:
        assert taken


def test_answers_are_as_described(tmp_path: Path) -> None:
    with live(chat_app(Parrot("m", "", "one two"), Database(tmp_path / "p.sqlite"))) as url:
        for path, body, name in (
            ("/v1/chat/completions", CHAT, "ChatCompletion"),
            ("/v1/completions", {"model": "m", "prompt": "x"}, "Completion"),
            ("/v1/completions", {"model": "m"}, "Error"),
            ("/tokenize", {"prompt": "x"}, "Tokens"),
        ):
            validator(name).validate(httpx.post(url + path, json=body).json())
        validator("ModelList").validate(httpx.get(f"{url}/v1/models").json())
        validator("Health").validate(httpx.get(f"{url}/health").json())


def test_it_is_served_below_the_public_path_and_to_those_who_may_ask(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    callers = callers_of(LOCAL_HOSTS, [], "https://ai.example/llm/", [])
    with live(chat_app(Parrot("m", "", "x"), database, callers)) as url:
        document = httpx.get(f"{url}/openapi.json").json()
        assert document["servers"] == [{"url": "/llm"}]
        assert document["components"]["schemas"]["CompletionRequest"]["properties"]["model"] == {"enum": ["m"]}
        new_token(database, "eva")
        assert httpx.get(f"{url}/openapi.json").status_code == 401
