"""The API as an OpenAPI 3.1 document, for generators of clients and for tests: GET /openapi.json.

Requests are described by the classes that read them, so that both cannot differ: their fields and
bounds, that null is a default, and what is refused by name. Answers are described here; the nightly
lane compares them with what a server says. It is no page, and loads nothing.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from pydantic import BaseModel

from privllm.serve.chat_api import RatingRequest
from privllm.serve.engine.base import ServedModel
from privllm.serve.middleware import Authenticator
from privllm.serve.openai_fields import UNSUPPORTED, OpenModel
from privllm.serve.openai_requests import ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from privllm.serve.server_api import DetokenizeRequest, TokenizeRequest

Schema = dict[str, Any]
JSON, EVENTS, TEXT = "application/json", "text/event-stream", "text/plain"
REFERENCE = "#/components/schemas/{model}"
NULL: Schema = {"type": "null"}
STRING: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}


def openapi_router(served: ServedModel, authenticator: Authenticator, prefix: str) -> APIRouter:
    router = APIRouter()
    document = openapi_document(served, prefix)

    @router.get("/openapi.json")
    async def openapi(request: Request) -> dict[str, Any]:
        await authenticator.authenticate(request)
        return document

    return router


EVENT: Schema = {"type": "object", "properties": {"data": STRING}, "required": ["data"]}  # each of a stream


class Operation(NamedTuple):
    """One call: what is sent, and what is answered by media type."""

    summary: str
    answers: Mapping[str, Schema]
    body: type[BaseModel] | None = None
    parameter: str = ""  # of the path
    open: bool = False  # it needs no token


def openapi_document(served: ServedModel, prefix: str = "") -> dict[str, Any]:
    """Return the document of a server of one model, below `prefix`."""
    schemas: dict[str, Schema] = dict(_answers())
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in _operations(served).items():
        if operation.body:
            schemas |= _request_schemas(operation.body, served.model.name)
        paths.setdefault(path, {})[method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "privllm serve", "version": version("privllm")},
        "servers": [{"url": prefix or "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operations(served: ServedModel) -> dict[tuple[str, str], Operation]:
    """Return every call, by method and path."""
    operations = {
        ("get", "/v1/models"): Operation("The model that is served", {JSON: _reference("ModelList")}),
        ("get", "/v1/models/{name}"): Operation("The model of a name", {JSON: _reference("Model")}, None, "name"),
        ("post", "/v1/chat/completions"): Operation(
            "A reply to messages", {JSON: _reference("ChatCompletion"), EVENTS: EVENT}, ChatCompletionRequest
        ),
        ("post", "/v1/completions"): Operation(
            "A continuation of texts", {JSON: _reference("Completion"), EVENTS: EVENT}, CompletionRequest
        ),
        ("post", "/v1/embeddings"): Operation("Vectors of texts", {JSON: _reference("Embeddings")}, EmbeddingRequest),
        ("get", "/health"): Operation("Whether replies can be generated", {JSON: _reference("Health")}, open=True),
        ("get", "/metrics"): Operation("Figures for Prometheus", {TEXT: STRING}),
        ("get", "/openapi.json"): Operation("This document", {JSON: {"type": "object"}}),
        ("post", "/tokenize"): Operation("Tokens of a text", {JSON: _reference("Tokens")}, TokenizeRequest),
        ("post", "/detokenize"): Operation("Text of tokens", {JSON: _reference("Prompt")}, DetokenizeRequest),
    }
    if served.dimensions is None:  # a model that writes nothing has no replies to rate
        operations |= {
            ("post", "/api/rating"): Operation("Rate a reply", {JSON: _reference("Edition")}, RatingRequest),
            ("delete", "/api/rating/{identifier}"): Operation(
                "Take a rating back", {JSON: _reference("TakenBack")}, None, "identifier"
            ),
        }
    return operations


def _described(operation: Operation) -> dict[str, Any]:
    error = {"description": "An error", "content": {JSON: {"schema": _reference("Error")}}}
    answers = {media_type: {"schema": schema} for media_type, schema in operation.answers.items()}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {"200": {"description": "Done", "content": answers}, "4XX": error, "5XX": error},
    }
    if operation.body:
        content = {JSON: {"schema": _reference(operation.body.__name__)}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.parameter:
        described["parameters"] = [
            {"name": operation.parameter, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]
    if operation.open:
        described["security"] = []
        unhealthy = {"description": "No reply can be generated", "content": answers}
        described["responses"]["503"] = unhealthy
    return described


def _request_schemas(body: type[BaseModel], model: str) -> dict[str, Schema]:
    """Return the schemas of a request and of what it holds, as `openai_fields.parse` reads it."""
    schema = body.model_json_schema(ref_template=REFERENCE)
    nested = schema.pop("$defs", {})
    properties = schema["properties"]
    if issubclass(body, OpenModel):
        required = schema.get("required", [])
        for name, accepted in properties.items():
            if name not in required and NULL not in accepted.get("anyOf", []):
                properties[name] = {"anyOf": [accepted, NULL]}  # null is left out before the rest is read
        for name, neutral in UNSUPPORTED.items():
            if name not in properties:
                properties[name] = {"enum": [*neutral, None], "description": "Not supported: leave it out."}
    if "model" in properties:
        properties["model"] = {"enum": [model]} if "model" in schema.get("required", []) else {"enum": [model, None]}
    return {body.__name__: schema, **nested}


def _answers() -> dict[str, Schema]:
    """Return the schemas of what the server says."""
    usage = _object(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT)
    logprobs = _or_null({"type": "object"})
    reason = {"enum": ["stop", "length"]}
    choice = {"index": COUNT, "logprobs": logprobs, "finish_reason": reason}
    message = _object(role={"const": "assistant"}, content=STRING, refusal=NULL)
    common = {"id": STRING, "created": COUNT, "model": STRING, "system_fingerprint": _or_null(STRING)}
    error = _object(message=STRING, type=STRING, param=_or_null(STRING), code=_or_null(STRING))
    vector = {"anyOf": [_list(NUMBER), STRING]}
    extension = _object(tuned=_or_null({"type": "boolean"}), context=_or_null(COUNT), digest=STRING, note=STRING)
    read = _object(prompt_tokens=COUNT, total_tokens=COUNT)
    return {
        "Error": _object(error=error),
        "Model": _object(id=STRING, object={"const": "model"}, created=COUNT, owned_by=STRING, privllm=extension),
        "ModelList": _object(object={"const": "list"}, data=_list(_reference("Model"))),
        "ChatCompletion": _object(
            object={"const": "chat.completion"},
            choices=_list(_object(message=message, **choice)),
            usage=_or_null(usage),
            **common,
        ),
        "Completion": _object(
            object={"const": "text_completion"},
            choices=_list(_object(text=STRING, **choice)),
            usage=_or_null(usage),
            **common,
        ),
        "Embeddings": _object(
            object={"const": "list"},
            data=_list(_object(object={"const": "embedding"}, index=COUNT, embedding=vector)),
            model=STRING,
            usage=read,
        ),
        "Health": _object(status={"enum": ["ok", "failed"]}),
        "Tokens": _object(count=COUNT, max_model_len=_or_null(COUNT), tokens=_list(COUNT)),
        "Prompt": _object(prompt=STRING),
        "Edition": _object(edition={"type": "integer", "minimum": 1}),
        "TakenBack": _object(taken_back={"const": True}),
    }


def _reference(name: str) -> Schema:
    return {"$ref": REFERENCE.format(model=name)}


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object that has all of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}
