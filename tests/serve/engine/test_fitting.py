"""Which turns of a conversation a model is given; the oracle is what training does to the same conversation."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.feedback.records import Message
from privllm.serve.engine.base import GenerationRequest, RequestRefused, SamplingSettings
from privllm.serve.engine.fitting import fit
from privllm.serve.engine.prompting import HuggingFaceFormat, PromptFormat, open_folder
from privllm.tokens.chat_format import Speech
from tests.serve.fakes import completion

CONTEXT = 96
WORDS = "the store keeps every row in a page of its own".split()


def ask(*messages: Message, max_tokens: int = 200) -> GenerationRequest:
    return GenerationRequest(messages, "", SamplingSettings(max_tokens))


@pytest.fixture(scope="module")
def tuned(exported: Callable[..., Path]) -> PromptFormat:
    return open_folder(exported(tuned=True))[1]


def test_a_short_conversation_is_read_whole(tuned: PromptFormat) -> None:
    messages = (Message("user", "the page"), Message("assistant", "row"), Message("user", "its"))
    prompt = fit(tuned, ask(*messages))
    assert (prompt.ids, prompt.messages, prompt.left_out) == (tuned.encode(ask(*messages)), messages, 0)
    assert prompt.max_tokens == CONTEXT - len(prompt.ids)
    assert fit(tuned, ask(*messages, max_tokens=7)).max_tokens == 7


def test_turns_leave_as_in_training(tuned: PromptFormat, exported: Callable[..., Path]) -> None:
    """Where a reply is as long as what is kept for it, and the last question fits."""
    speech, rng, left = Speech(exported(tuned=True)), random.Random(4), set()
    for _ in range(300):
        roles = rng.choices(["user", "assistant"], k=rng.randint(0, 9))
        messages = [Message(role, " ".join(rng.choices(WORDS, k=rng.randint(1, 20)))) for role in [*roles, "user"]]  # type: ignore[arg-type]
        reply = " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))
        turns = [*((message.role, message.content) for message in messages), ("assistant", reply)]
        taught = speech.dialogue(turns, CONTEXT)
        prompt = fit(tuned, ask(*messages, max_tokens=len(speech.ids(reply))))
        assert taught is not None
        assert prompt.ids == taught.tokens[: taught.answer_at]
        assert (prompt.left_out > 0) == taught.cut
        assert prompt.messages == tuple(messages[prompt.left_out :])
        left.add(prompt.left_out)
    assert {0, 1, 2, 4} < left


def test_a_quarter_of_the_context_is_kept_for_the_reply(tuned: PromptFormat) -> None:
    refused_sizes = []
    for words in range(1, 80):
        last = Message("user", "1 " * words)
        size = len(tuned.encode(ask(last)))
        request = ask(Message("user", "row"), Message("assistant", "page"), last)
        if size <= CONTEXT - 24:
            prompt = fit(tuned, request)
            assert size <= len(prompt.ids) <= 72
            assert prompt.max_tokens == CONTEXT - len(prompt.ids)
            continue
        with pytest.raises(RequestRefused, match="96 at once, of which 24 are kept for the reply") as refused:
            fit(tuned, request)
        assert (refused.value.status, refused.value.param) == (400, "messages")
        refused_sizes.append(size)
    assert min(refused_sizes) <= 74


def test_a_last_question_is_whole_or_refused(tuned: PromptFormat) -> None:
    long = Message("user", "row " * 300)
    assert fit(tuned, ask(long, Message("user", "row"))).messages == (Message("user", "row"),)
    with pytest.raises(RequestRefused, match="in its last message alone") as refused:
        fit(tuned, ask(Message("user", "row"), Message("assistant", "page"), long))
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(RequestRefused, match="in its last message and the system's"):
        fit(tuned, ask(Message("system", "row " * 300), Message("user", "row")))


def test_what_a_conversation_opens_with_stays(exported: Callable[..., Path], tmp_path: Path) -> None:
    """A folder of somebody else's, whose template knows a system."""
    for path in exported().iterdir():
        if path.name not in ("provenance.json", "README.md"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}<|user|>{{ m.role }} {{ m.content }}<|end|>{% endfor %}<|assistant|>"
    )
    foreign = open_folder(tmp_path)[1]
    assert isinstance(foreign, HuggingFaceFormat)
    system, last = Message("system", "be brief"), Message("user", "its own")
    old = [Message(role, "the row " * 8) for role in ("user", "assistant") * 4]  # type: ignore[arg-type]
    prompt = fit(foreign, ask(system, *old, last))
    assert (prompt.messages[0], prompt.messages[-1]) == (system, last)
    assert prompt.messages[1].role == "user"
    assert prompt.left_out == len(old) + 2 - len(prompt.messages) > 0
    assert prompt.ids == foreign.encode(ask(*prompt.messages))


def test_a_model_that_continues_text_reads_the_last_message(exported: Callable[..., Path]) -> None:
    untuned = open_folder(exported())[1]
    old, last = Message("user", "row " * 300), Message("user", "its own")
    prompt = fit(untuned, ask(old, last))
    assert (prompt.ids, prompt.left_out, prompt.max_tokens) == (untuned.encode(completion("its own")), 1, 200)
    assert fit(untuned, ask(Message("system", "be kind"), last)).left_out == 0
    with pytest.raises(RequestRefused, match="this model sees 96 at once"):
        fit(untuned, ask(last, old))
