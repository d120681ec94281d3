"""Conversations as people store them: whose turn it is, what is left out and counted, and what cannot be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.tasks.chat_turns import ROLES, turns_of
from privllm.tasks.line_faults import InvalidLine

Q, A = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
SYSTEM = {"role": "system", "content": "Be kind."}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
RESULT = {"role": "tool", "content": "5"}


@pytest.mark.parametrize(
    ("messages", "turns", "changes"),
    [
        ([Q, A], "user:Hi assistant:Hello.", {}),
        ([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "user:Hi assistant:Hello.", {}),
        ([{"role": None, "content": None, "from": "human", "value": "Hi"}, A], "user:Hi assistant:Hello.", {}),
        ([SYSTEM, Q, A], "system:Be kind. user:Hi assistant:Hello.", {}),
        ([{"role": "developer", "content": "Be kind."}, Q, A], "system:Be kind. user:Hi assistant:Hello.", {}),
        ([{"from": "system", "value": ""}, Q, A], "user:Hi assistant:Hello.", {}),
        ([SYSTEM, SYSTEM, Q, A], "system:Be kind.\n\nBe kind. user:Hi assistant:Hello.", {"joined": 1}),
        ([Q, CALL, RESULT, A], "user:Hi assistant:Hello.", {"tool_turns": 2}),
        ([Q, {"from": "function_call", "value": "{}"}, A], "user:Hi assistant:Hello.", {"tool_turns": 1}),
        ([Q, CALL | {"content": "I look."}, RESULT, A], "user:Hi assistant:I look.\n\nHello.", {"tool_turns": 1, "joined": 1}),
        ([A, Q, A], "user:Hi assistant:Hello.", {"openings": 1}),
        ([SYSTEM, A, A, Q, A], "system:Be kind. user:Hi assistant:Hello.", {"openings": 2}),
        ([Q, A, Q], "user:Hi assistant:Hello.", {"unanswered": 1}),
        ([Q, Q, A], "user:Hi\n\nHi assistant:Hello.", {"joined": 1}),
        ([Q | {"name": "Eve"}, A | {"weight": 1}], "user:Hi assistant:Hello.", {}),
        ([{"role": "user", "content": PARTS}, A], "user:a\nb assistant:Hello.", {}),
    ],
)  # fmt: skip
def test_turns_are_the_systems_then_user_and_assistant_by_turns(messages: list, turns: str, changes: dict) -> None:
    found, counted = turns_of(messages)
    assert " ".join(f"{role}:{text}" for role, text in found) == turns
    assert counted == changes


@pytest.mark.parametrize(
    ("messages", "part", "reason"),
    [
        ("Hi", "must be a list", "wrong_type"),
        ([], "must be a list", "wrong_type"),
        (["Hi"], 'message 1 must be an object with "role" and "content"', "wrong_type"),
        ([{"content": "Hi"}, A], 'message 1 must be an object with "role" and "content"', "wrong_type"),
        ([Q, {"role": "narrator", "content": "x"}], "message 2 is by 'narrator', who is none of system", "unknown_role"),
        ([{"role": 3, "content": "x"}, A], "message 1 is by 3", "unknown_role"),
        ([{"role": "user"}, A], "message 1 must be a string with something in it", "empty"),
        ([Q, {"role": "assistant", "content": " "}], "message 2 must be a string with something in it", "empty"),
        ([Q, {"role": "assistant", "content": 5}], "message 2 must be a string", "wrong_type"),
        ([Q, {"role": "assistant", "content": "a\0"}], "message 2 holds a NUL", "nul"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, A], "no text \\('image_url'\\)", "not_text"),
        ([Q, SYSTEM, A], "message 2 is the system's, but stands within", "system_within"),
        ([SYSTEM, A], "no question with the assistant's reply", "no_reply"),
        ([Q, Q], "no question with the assistant's reply", "no_reply"),
        ([SYSTEM], "no question with the assistant's reply", "no_reply"),
        ([Q, CALL, RESULT], "no question with the assistant's reply", "no_reply"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(messages: object, part: str, reason: str) -> None:
    with pytest.raises(InvalidLine, match=part) as caught:
        turns_of(messages)
    assert caught.value.reason == reason


@given(st.lists(st.sampled_from([Q, A, CALL, RESULT, SYSTEM]), max_size=9))
def test_turns_alternate_and_nothing_is_lost_uncounted(messages: list) -> None:
    try:
        turns, changes = turns_of(messages)
    except InvalidLine:
        return
    assert len(turns) + changes.total() == len(messages)
    spoken = [role for role, _ in turns if role != "system"]
    assert spoken == ["user", "assistant"] * (len(spoken) // 2)
    again = [{"role": role, "content": text} for role, text in turns]
    assert turns_of(again) == (turns, {})
    assert set(dict(turns)) <= set(ROLES.values())
