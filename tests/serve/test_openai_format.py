import json
from typing import Any

import pytest

from privllm.feedback.records import Message, Model
from privllm.serve.engine.base import Done, RequestRefused, ServedModel
from privllm.serve.openai_format import (
    ChatCompletionRequest,
    CompletionRequest,
    ResponseWriter,
    error_body,
    model_card,
    parse,
    usage,
)

SERVED = ServedModel(Model("m", "", "d"), None, None)


def test_seeds_are_drawn_where_none_is_given_and_defaults_are_those_of_the_terminal() -> None:
    body = b'{"model": "m", "prompt": "x"}'
    first_settings, second_settings = (
        parse(CompletionRequest, body).to_generation_request().settings for _ in range(2)
    )
    assert first_settings.seed != second_settings.seed
    assert (first_settings.max_tokens, first_settings.temperature, first_settings.top_p) == (200, 0.8, 0.95)


def test_zero_is_a_temperature_and_the_newer_name_of_a_length_wins() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0,"max_tokens":9,'
    body += b'"max_completion_tokens":5,"stop":["",".."]}'
    settings = parse(ChatCompletionRequest, body).to_generation_request().settings
    assert (settings.temperature, settings.max_tokens, settings.stop) == (0.0, 5, ("..",))


def test_nothing_is_made_up_of_what_an_upstream_does_not_say() -> None:
    assert usage(Done("stop", None, None)) is None
    assert ResponseWriter(SERVED, True).response("x", Done("stop", None, None))["usage"] is None
    assert model_card(SERVED)["privllm"] == {"tuned": None, "context": None, "digest": "d", "note": ""}


def test_a_completion_has_no_opening_chunk() -> None:
    assert ResponseWriter(SERVED, False).first_chunk() is None
    assert error_body(503, "x")["error"]["type"] == "server_error"


BOUNDS = [
    # field, taken, refused
    ("max_tokens", (1, 4096), (0, 4097, 1.0, True, "5")),
    ("max_completion_tokens", (1, 4096), (0, 4097)),
    ("temperature", (0, 0.01, 2, 2.0), (-0.01, 0.0099, 2.01, "1", True)),
    ("top_p", (0.001, 1, 1.0), (0, -0.1, 1.001)),
    ("seed", (-(2**63), 2**63 - 1), (-(2**63) - 1, 2**63)),
    ("stop", ("a", ["a"] * 4, []), (["a"] * 5, 5, ["a", 5], [None])),
    ("stream", (True, False), ("yes", 1)),
    ("stream_options", ({"include_usage": True}, {}), ({"x": 1}, {"include_usage": 1}, [])),
    ("user", ("eva", ""), (5,)),
    ("model", ("m", ""), (None, 5)),
    ("n", (None, 1), (2, 0, True)),
    ("logprobs", (None, False), (True, 0)),
    ("frequency_penalty", (None, 0), (0.1, False)),
    ("tools", (None, []), ([{}],)),
    ("logit_bias", (None, {}), ({"1": 1},)),
    ("suffix", (None, ""), ("x",)),
    ("tool_choice", (None, "none", "auto"), ("required",)),
    ("service_tier", (None, "auto", "default"), ("flex",)),
    ("modalities", (None, ["text"]), (["audio"],)),
    ("response_format", (None, {"type": "text"}), ({"type": "json_object"},)),
    ("unheard_of", (), (None, 1)),
]
MESSAGE = {"role": "user", "content": "x"}


def asked(**fields: Any) -> ChatCompletionRequest:
    return parse(ChatCompletionRequest, json.dumps({"model": "m", "messages": [MESSAGE]} | fields).encode())


@pytest.mark.parametrize(("field", "taken", "refused"), BOUNDS, ids=[field for field, *_ in BOUNDS])
def test_each_field_has_its_bounds_and_is_named_beyond_them(field: str, taken: tuple, refused: tuple) -> None:
    for value in taken:
        asked(**{field: value}).to_generation_request()
    for value in refused:
        with pytest.raises(RequestRefused) as error:
            asked(**{field: value})
        assert error.value.status == 400
        assert (error.value.param or "").startswith(field), value
        assert f"`{error.value.param}`" in error.value.message


def test_a_chat_has_one_to_256_messages_and_the_last_is_the_users() -> None:
    for count in (1, 256):
        assert len(asked(messages=[MESSAGE] * count).to_generation_request().messages or ()) == count
    for messages in (
        [],
        [MESSAGE] * 257,
        "x",
        [{"role": "user"}],
        [MESSAGE | {"name": "eva"}],
        [{"role": "tool", "content": "x"}],
    ):
        with pytest.raises(RequestRefused, match="messages"):
            asked(messages=messages)
    for role in ("assistant", "system", "developer"):
        with pytest.raises(RequestRefused, match="the last message must be the user's") as error:
            asked(messages=[{"role": role, "content": "x"}]).to_generation_request()
        assert (error.value.status, error.value.param) == (400, "messages")


def test_developers_are_the_system_and_parts_are_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    found = (
        asked(messages=[{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}])
        .to_generation_request()
        .messages
    )
    assert found == (Message("system", "be kind"), Message("user", "ab"))
    with pytest.raises(RequestRefused, match="messages"):
        asked(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


def test_usage_is_told_only_to_who_asks() -> None:
    assert asked(stream_options={"include_usage": True}).wants_usage
    assert not asked(stream_options={}).wants_usage
    assert not asked().wants_usage
    assert usage(Done("stop", 0, 0)) == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert usage(Done("stop", 2, None)) is usage(Done("stop", None, 2)) is None


def test_a_prompt_is_one_text() -> None:
    for prompt in ("a", ["a"]):
        assert (
            parse(CompletionRequest, json.dumps({"model": "m", "prompt": prompt}).encode()).to_generation_request().text
            == "a"
        )
    for prompt in ([], ["a", "b"], 5, [5], None):
        with pytest.raises(RequestRefused, match="prompt"):
            parse(CompletionRequest, json.dumps({"model": "m", "prompt": prompt}).encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *(
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
        ),
        *((429, "rate_limit_error"), (499, "invalid_request_error"), (500, "server_error"), (502, "server_error")),
    ],
)
def test_errors_have_openais_kinds(status: int, kind: str) -> None:
    assert error_body(status, "why", "stop") == {
        "error": {"message": "why", "type": kind, "param": "stop", "code": None}
    }


@pytest.mark.parametrize("chat", [True, False])
def test_what_is_written_has_openais_form(chat: bool) -> None:
    writer, done = ResponseWriter(SERVED, chat), Done("length", 2, 3)
    common = {"id": writer.id, "model": "m", "system_fingerprint": "d"}
    counts = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert writer.id.startswith("chatcmpl-" if chat else "cmpl-")
    assert len(writer.id) > 32
    whole, piece, last, told = (
        writer.response("hi", done),
        writer.text_chunk("h"),
        writer.last_chunk(done),
        writer.usage_chunk(done),
    )
    for part, name in ((whole, ""), *((part, ".chunk" if chat else "") for part in (piece, last, told))):
        assert {key: part[key] for key in common} == common
        assert part["object"] == ("chat.completion" if chat else "text_completion") + name
        assert isinstance(part["created"], int)
    said = {"message": {"role": "assistant", "content": "hi", "refusal": None}} if chat else {"text": "hi"}
    assert whole["choices"] == [{"index": 0, "logprobs": None, "finish_reason": "length"} | said]
    assert piece["choices"] == [
        {"index": 0, "logprobs": None, "finish_reason": None} | ({"delta": {"content": "h"}} if chat else {"text": "h"})
    ]
    assert last["choices"] == [
        {"index": 0, "logprobs": None, "finish_reason": "length"} | ({"delta": {}} if chat else {"text": ""})
    ]
    assert (told["choices"], told["usage"], whole["usage"]) == ([], counts, counts)
    first = writer.first_chunk()
    assert (first and first["choices"][0]["delta"]) == ({"role": "assistant", "content": ""} if chat else None)


@pytest.mark.parametrize(("tuned", "noted"), [(False, True), (True, False), (None, False)])
def test_only_a_model_that_is_known_not_to_be_tuned_is_said_to_be_none(tuned: bool | None, noted: bool) -> None:
    card = model_card(ServedModel(Model("m", "", "d"), tuned, 96))
    assert bool(card["privllm"]["note"]) is noted
    assert (card["created"], card["owned_by"]) == (0, "privllm")
    assert (card["id"], card["object"], card["privllm"]["tuned"], card["privllm"]["context"]) == (
        "m",
        "model",
        tuned,
        96,
    )
    assert (
        ResponseWriter(ServedModel(Model("m", "", ""), None, None), True).response("", Done("stop", None, None))[
            "system_fingerprint"
        ]
        is None
    )
