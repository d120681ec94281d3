import pytest

from privllm.feedback.records import Model
from privllm.serve.engine.base import Done, RequestRefused, ServedModel, Text, TokenLogprob
from privllm.serve.openai_responses import Reply, ResponseWriter, error_body, model_card

SERVED = ServedModel(Model("m", "", "d"), None, None)


def done(text: str, *counts: int | None, reason: str = "stop", tokens: tuple[TokenLogprob, ...] = ()) -> Reply:
    return Reply(text, "", list(tokens), Done(reason, *counts))


def test_nothing_is_made_up_of_what_an_upstream_does_not_say() -> None:
    for counts in ((None, None), (2, None), (None, 2)):
        assert ResponseWriter(SERVED, True).response([done("x", *counts)])["usage"] is None
    assert model_card(SERVED)["privllm"] == {"tuned": None, "context": None, "digest": "d", "note": ""}


def test_a_prompt_counts_once_however_many_choices_it_has() -> None:
    replies = [done("a", 3, 5), done("b", 3, 6), done("c", 4, 1), done("d", 4, 0)]
    counts = {"prompt_tokens": 7, "completion_tokens": 12, "total_tokens": 19}
    body = ResponseWriter(SERVED, False, n=2).response(replies)
    assert body["usage"] == counts
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == list(enumerate("abcd"))


TOKENS = (TokenLogprob("a", None, ()), TokenLogprob("é", -0.5, (("é", -0.5), ("b", -1.0))), TokenLogprob("", -1e9, ()))


def test_log_probabilities_have_openais_two_forms() -> None:
    chat = ResponseWriter(SERVED, True).response([done("aé", 1, 2, tokens=TOKENS[1:])])["choices"][0]["logprobs"]
    both = [{"token": "é", "logprob": -0.5, "bytes": [195, 169]}, {"token": "b", "logprob": -1.0, "bytes": [98]}]
    assert chat["content"][0] == both[0] | {"top_logprobs": both}
    assert chat["content"][1]["logprob"] == -9999.0
    text = ResponseWriter(SERVED, False).response([done("aé", 1, 2, tokens=TOKENS)])["choices"][0]["logprobs"]
    assert text == {
        "tokens": ["a", "é", ""],
        "token_logprobs": [None, -0.5, -1e9],
        "top_logprobs": [None, {"é": -0.5, "b": -1.0}, {}],
        "text_offset": [0, 1, 2],
    }
    streamed = ResponseWriter(SERVED, False)
    chunks = [streamed.chunk(0, Text(token.text, (token,))) for token in TOKENS]
    assert [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks] == [[0], [1], [2]]


def test_what_was_left_out_is_told() -> None:
    seen = Done("stop", 1, 1, left_out=4)
    assert ResponseWriter(SERVED, True).response([Reply(done=seen)])["privllm"] == {"left_out": 4}
    assert ResponseWriter(SERVED, True).chunk(0, seen)["privllm"] == {"left_out": 4}
    assert "privllm" not in ResponseWriter(SERVED, True).response([done("x", 1, 1)])


def test_a_completion_has_no_opening_chunk() -> None:
    assert ResponseWriter(SERVED, False).first_chunks(2) == []
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
    writer, ended = ResponseWriter(SERVED, chat), done("hi", 2, 3, reason="length")
    assert ended.done
    common = {"id": writer.id, "model": "m", "system_fingerprint": "d"}
    counts = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert writer.id.startswith("chatcmpl-" if chat else "cmpl-")
    assert len(writer.id) > 32
    whole, piece, last, told = (
        writer.response([ended]),
        writer.chunk(0, Text("h")),
        writer.chunk(0, ended.done),
        writer.usage_chunk([ended]),
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
    firsts = writer.first_chunks(2)
    assert [(part["choices"][0]["index"], part["choices"][0]["delta"]) for part in firsts] == (
        [(index, {"role": "assistant", "content": ""}) for index in range(2)] if chat else []
    )


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
        ResponseWriter(ServedModel(Model("m", "", ""), None, None), True).response([done("", None, None)])[
            "system_fingerprint"
        ]
        is None
    )
