import json
from typing import Any

import pytest

from privllm.feedback.records import Message
from privllm.serve.engine.base import GenerationRequest, RequestRefused, SamplingSettings
from privllm.serve.openai_fields import MAX_MESSAGES, UNSUPPORTED, parse
from privllm.serve.openai_requests import MAX_CHOICES, BaseRequest, ChatCompletionRequest, CompletionRequest


def test_seeds_are_drawn_where_none_is_given_and_defaults_are_those_of_the_terminal() -> None:
    body = b'{"model": "m", "prompt": "x"}'
    first_settings, second_settings = (
        parse(CompletionRequest, body).to_generation_requests()[0].settings for _ in range(2)
    )
    assert first_settings.seed != second_settings.seed
    assert (first_settings.max_tokens, first_settings.temperature, first_settings.top_p) == (200, 0.8, 0.95)


def test_zero_is_a_temperature_and_the_newer_name_of_a_length_wins() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0,"max_tokens":9,'
    body += b'"max_completion_tokens":5,"stop":["",".."]}'
    settings = parse(ChatCompletionRequest, body).to_generation_requests()[0].settings
    assert (settings.temperature, settings.max_tokens, settings.stop) == (0.0, 5, ("..",))


BOUNDS = [
    # field, taken, refused
    ("max_tokens", (1, 131_072, None), (0, 131_073, 1.0, True, "5")),
    ("max_completion_tokens", (1, 131_072, None), (0, 131_073)),
    ("temperature", (0, 0.01, 2, 2.0, None), (-0.01, 0.0099, 2.01, "1", True)),
    ("top_p", (0.001, 1, 1.0, None), (0, -0.1, 1.001)),
    ("seed", (-(2**63), 2**63 - 1, None), (-(2**63) - 1, 2**63)),
    ("stop", ("a", ["a"] * 4, [], None), (["a"] * 5, 5, ["a", 5], [None])),
    ("stream", (True, False, None), ("yes", 1)),
    ("stream_options", ({"include_usage": True}, {"x": 1}, {"include_usage": None}), ({"include_usage": 1}, [])),
    ("model", ("m", ""), (None, 5)),
    ("n", (None, 1, 64), (65, 0, True)),
    ("logprobs", (None, False, True), (0, 1)),
    ("top_logprobs", (None, 0), (-1, 21)),
    ("top_k", (None, -1, 0, 40), (-2, 1.5)),
    ("min_p", (None, 0, 1), (-0.1, 1.1)),
    ("repetition_penalty", (None, 0.01, 10), (0, 0.0099, -1, 10.1)),
    ("presence_penalty", (None, -2, 2), (-2.1, 2.1)),
    ("frequency_penalty", (None, -2, 2), (-2.1, 2.1, False)),
    ("best_of", (None, 1), (2,)),
    ("ignore_eos", (None, False), (True,)),
    ("tools", (None, []), ([{}],)),
    ("functions", (None, []), ([{}],)),
    ("logit_bias", (None, {}), ({"1": 1},)),
    ("suffix", (None, ""), ("x",)),
    ("tool_choice", (None, "none", "auto"), ("required", {"type": "function"})),
    ("modalities", (None, ["text"]), (["audio"], ["text", "audio"])),
    ("audio", (None,), ({"voice": "alloy"},)),
    (
        "response_format",
        (None, {"type": "text"}, {"type": "json_object"}),
        ({"type": "xml"}, {}),
    ),
    ("structured_outputs", (None,), ({"json": {}},)),
    ("chat_template", (None,), ("x",)),
]
# what clients send that changes no answer of ours, or that nobody has heard of
HARMLESS = {
    "metadata": {"a": "b"},
    "parallel_tool_calls": True,
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "safety_identifier": "s",
    "service_tier": "flex",
    "store": True,
    "unheard_of": [1],
    "user": "eva",
    "verbosity": "low",
}
MESSAGE = {"role": "user", "content": "x"}


def asked(**fields: Any) -> ChatCompletionRequest:
    return parse(ChatCompletionRequest, json.dumps({"model": "m", "messages": [MESSAGE]} | fields).encode())


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"stop": ["a"] * 5}, "stop", "at most 4 items"),
        ({"stop": 5}, "stop", "must be a text, or a list of texts"),
        ({"stop": ["a", 5]}, "stop", "should be a valid string"),
        ({"prompt": [1, 2**70]}, "prompt", "must be a text, a list of texts, or tokens"),
        ({"prompt": 5}, "prompt", "must be a text, a list of texts, or tokens"),
        ({"prompt": ["x"] * 65}, "prompt", "may ask for 64 replies"),
        ({"prompt": ["x"] * 33, "n": 2}, "n", "may ask for 64 replies"),
        ({"temperature": 0.001}, "temperature", "`temperature`: must be 0 or at least 0.01."),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format",
            "a JSON schema",
        ),
    ],
)
def test_what_is_wrong_is_said_of_the_type_that_was_meant(fields: dict[str, Any], param: str, words: str) -> None:
    body = json.dumps({"model": "m", "prompt": "x"} | fields).encode()
    with pytest.raises(RequestRefused) as error:
        parse(CompletionRequest, body).to_generation_requests()
    assert (error.value.param or "").startswith(param)
    assert words in error.value.message


def test_of_a_part_the_wrong_field_is_named() -> None:
    with pytest.raises(RequestRefused) as error:
        asked(messages=[{"role": "user", "content": [{"type": "text", "text": 5}]}])
    assert error.value.param == "messages[0].content[0].text"


@pytest.mark.parametrize(("field", "taken", "refused"), BOUNDS, ids=[field for field, *_ in BOUNDS])
def test_each_field_has_its_bounds_and_is_named_beyond_them(field: str, taken: tuple, refused: tuple) -> None:
    for value in taken:
        asked(**{field: value}).to_generation_requests()[0]
    for value in refused:
        with pytest.raises(RequestRefused) as error:
            asked(**{field: value})
        assert error.value.status == 400
        assert (error.value.param or "").startswith(field), value
        assert f"`{error.value.param}`" in error.value.message
        assert error.value.code in (
            "unsupported_parameter",
            "invalid_value",
            "invalid_type",
            "missing_required_parameter",
        )


@pytest.mark.parametrize("field", HARMLESS)
def test_what_changes_no_answer_is_taken(field: str) -> None:
    plain = asked(seed=1).to_generation_requests()[0]
    for value in (HARMLESS[field], None):
        assert asked(**{field: value}, seed=1).to_generation_requests()[0] == plain
    assert field not in UNSUPPORTED


def test_tools_that_may_not_be_called_change_nothing() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert asked(tools=tools, tool_choice="none", seed=1) == asked(seed=1)
    for choice in ({}, {"tool_choice": "auto"}, {"tool_choice": "required"}):
        with pytest.raises(RequestRefused) as refused:
            asked(tools=tools, **choice)
        assert refused.value.code == "unsupported_parameter"


def test_a_chat_has_at_least_a_message_and_the_last_is_the_users() -> None:
    for count in (1, MAX_MESSAGES):
        assert len(asked(messages=[MESSAGE] * count).to_generation_requests()[0].messages or ()) == count
    for messages in ([], [MESSAGE] * (MAX_MESSAGES + 1), "x", [{"role": "user"}], [5]):
        with pytest.raises(RequestRefused, match="messages"):
            asked(messages=messages)
    for role in ("assistant", "system", "developer"):
        with pytest.raises(RequestRefused, match="the last message must be the user's") as error:
            asked(messages=[{"role": role, "content": "x"}]).to_generation_requests()[0]
        assert (error.value.status, error.value.param) == (400, "messages")


REPLIES = [
    {"role": "assistant", "content": "hi", "refusal": None},
    {"role": "assistant", "content": "hi", "refusal": None, "annotations": None, "audio": None, "function_call": None,
     "tool_calls": None, "reasoning_content": "hm"},
    {"role": "assistant", "content": "hi", "tool_calls": [], "name": "eva"},
    {"role": "assistant", "content": None, "refusal": "hi"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "hi"}]},
]  # fmt: skip


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_may_be_sent_back(reply: dict[str, Any]) -> None:
    assert asked(messages=[MESSAGE, reply, MESSAGE]).to_generation_requests()[0].messages == (
        Message("user", "x"),
        Message("assistant", "hi"),
        Message("user", "x"),
    )


UNREADABLE = {
    "messages[0].role": ({"role": "tool", "content": "x", "tool_call_id": "1"}, "unsupported_value"),
    "messages[0].tool_calls": ({"role": "assistant", "content": None, "tool_calls": [{}]}, "unsupported_parameter"),
    "messages[0].audio": ({"role": "assistant", "content": None, "audio": {"id": "1"}}, "unsupported_parameter"),
    "messages[0].content[1].type": (
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}}]},
        "unsupported_value",
    ),
    "messages[0].content[0].text": (
        {"role": "user", "content": [{"type": "text"}]},
        "missing_required_parameter",
    ),
    "messages[0]": ({"role": "assistant", "content": None}, "invalid_value"),
}


@pytest.mark.parametrize("param", UNREADABLE)
def test_messages_that_are_more_than_text_are_refused_by_name(param: str) -> None:
    message, code = UNREADABLE[param]
    with pytest.raises(RequestRefused) as refused:
        asked(messages=[message, MESSAGE])
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, code)


def test_developers_are_the_system_and_parts_are_lines() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    found = (
        asked(messages=[{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}])
        .to_generation_requests()[0]
        .messages
    )
    assert found == (Message("system", "be kind"), Message("user", "a\nb"))


def test_usage_is_told_only_to_who_asks() -> None:
    assert asked(stream_options={"include_usage": True}).wants_usage
    assert not asked(stream_options={}).wants_usage
    assert not asked().wants_usage


def continued(**fields: Any) -> list[GenerationRequest]:
    return parse(CompletionRequest, json.dumps({"model": "m"} | fields).encode()).to_generation_requests()


def test_prompts_are_texts_or_tokens_one_or_many() -> None:
    for prompt, wanted in (
        ("a", [("a", None)]),
        (["a", ""], [("a", None), ("", None)]),
        ([5, 6], [("", (5, 6))]),
        ([[5], [6, 7]], [("", (5,)), ("", (6, 7))]),
    ):
        assert [(made.text, made.ids) for made in continued(prompt=prompt)] == wanted
    for wrong in ([], [[]], 5, [5, "a"], [["a"]], None, [True], [1.5], {"a": 1}):
        with pytest.raises(RequestRefused) as refused:
            continued(prompt=wrong)
        assert (refused.value.status, refused.value.param) == (400, "prompt")


def test_each_choice_is_a_request_with_a_seed_of_its_own() -> None:
    made = continued(prompt=["a", "b"], n=2, seed=5)
    assert [(each.text, each.settings.seed) for each in made] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    assert len(continued(prompt=["a"] * MAX_CHOICES)) == MAX_CHOICES
    with pytest.raises(RequestRefused, match="64 replies, and this one asks for 66"):
        continued(prompt=["a"] * 33, n=2)


def test_after_the_greatest_seed_comes_the_least() -> None:
    seeds = [request.settings.seed for request in asked(n=3, seed=2**63 - 2).to_generation_requests()]
    assert seeds == [2**63 - 2, 2**63 - 1, -(2**63)]


def test_how_tokens_are_drawn() -> None:
    said = {
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "seed": 2,
    }
    settings = asked(**said).to_generation_requests()[0].settings
    assert settings == SamplingSettings(**said)
    assert asked(top_k=-1).to_generation_requests()[0].settings.top_k == 0
    assert settings.has_penalties
    assert not SamplingSettings(top_k=3).has_penalties


def test_log_probabilities_and_echoes() -> None:
    assert [
        asked(**fields).told_logprobs for fields in ({}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 3})
    ] == [None, 0, 3]
    with pytest.raises(RequestRefused, match="send `logprobs: true` too"):
        asked(top_logprobs=3).to_generation_requests()
    (made,) = continued(prompt="a", echo=True, max_tokens=0, logprobs=0)
    assert (made.echo, made.settings.max_tokens, made.settings.logprobs) == (True, 0, 0)
    with pytest.raises(RequestRefused, match="unless `echo` asks for the prompt"):
        continued(prompt="a", max_tokens=0)
    for wrong in (-1, 21, True):
        with pytest.raises(RequestRefused, match="logprobs"):
            continued(prompt="a", logprobs=wrong)


def test_no_field_is_both_taken_and_refused() -> None:
    for schema in (BaseRequest, ChatCompletionRequest, CompletionRequest):
        assert not UNSUPPORTED.keys() & schema.model_fields.keys()
