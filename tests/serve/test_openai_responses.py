import pytest

from privllm.feedback.records import Model
from privllm.serve.engine.base import Done, RequestRefused, ServedModel
from privllm.serve.openai_responses import ResponseWriter, error_body, model_card, usage

SERVED = ServedModel(Model("m", "", "d"), None, None)


def test_nothing_is_made_up_of_what_an_upstream_does_not_say() -> None:
    assert usage(Done("stop", None, None)) is None
    assert ResponseWriter(SERVED, True).response("x", Done("stop", None, None))["usage"] is None
    assert model_card(SERVED)["privllm"] == {"tuned": None, "context": None, "digest": "d", "note": ""}


def test_a_completion_has_no_opening_chunk() -> None:
    assert ResponseWriter(SERVED, False).first_chunk() is None
    assert error_body(RequestRefused(503, "x"))["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None),
        (401, "authentication_error", "invalid_api_key"),
        (403, "permission_error", None),
        (404, "not_found_error", None),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (499, "invalid_request_error", None),
        (500, "server_error", None),
        (502, "server_error", None),
    ],
)
def test_errors_have_openais_kinds_and_codes(status: int, kind: str, code: str | None) -> None:
    wanted = {"message": "why", "type": kind, "param": "stop", "code": code}
    assert error_body(RequestRefused(status, "why", "stop")) == {"error": wanted}
    named = RequestRefused(status, "why", code="context_length_exceeded")
    assert error_body(named)["error"]["code"] == "context_length_exceeded"


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
