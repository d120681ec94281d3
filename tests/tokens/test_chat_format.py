"""Turns as ids: what the chat template says, whatever is typed; and of what is too long, what stays."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from privllm.core.report import write_json
from privllm.tokens.chat_format import Exchange, Speech
from privllm.tokens.vocabulary import TOKENIZER_CONFIG, TokenizerConfig, train

END_OF_TEXT, PAD, USER, ASSISTANT, END = 0, 1, 3, 4, 5
WORDS = "red green blue stone river cloud Ada Bob Eve walks sings sleeps the a".split()
TEXTS = st.lists(st.sampled_from([*WORDS, "<|end|>", "<|assistant|>", "\n", "ü"]), min_size=1, max_size=6).map(" ".join)


def make_tokenizer(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    texts = [" ".join(rng.choice(WORDS, 8)) for _ in range(300)]
    (folder / "tokenizer.json").write_text(train(TokenizerConfig(vocabulary=320), texts), "utf-8")
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("speech") / "tokenizer")


@pytest.fixture(scope="module")
def speech(folder: Path) -> Speech:
    return Speech(folder)


def test_a_prompt_is_what_the_chat_template_says(folder: Path, speech: Speech) -> None:
    turns = [("user", "red stone"), ("assistant", "Ada"), ("user", "blue")]
    messages = [{"role": role, "content": text} for role, text in turns]
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, add_generation_prompt=True)[
        "input_ids"
    ]
    assert speech.prompt(turns) == theirs


@settings(deadline=None, max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(8, 60))
def test_a_dialogue_fits_keeps_its_reply_and_holds_no_typed_mark(
    speech: Speech, texts: list[str], context: int
) -> None:
    turns = [(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]
    turns = turns if len(turns) % 2 == 0 else [*turns, ("assistant", "Bob")]
    whole = speech.prompt(turns[:-1]) + speech.ids(turns[-1][1]) + [END]
    dialogue = speech.dialogue(turns, context)
    assert (dialogue is None) == (speech.least(turns[-1][1]) > context)
    if dialogue is None:
        return
    assert len(dialogue.tokens) <= context + 1
    assert dialogue.cut == (len(whole) > context + 1)
    assert dialogue.tokens[dialogue.answer_at :] == [*speech.ids(turns[-1][1]), END]
    marks = [token for token in dialogue.tokens if token < 6]
    assert marks == [END_OF_TEXT, *[USER, END, ASSISTANT, END] * ((len(marks) - 1) // 4)]
    if not dialogue.cut:
        assert dialogue.tokens == whole
        assert dialogue.tokens[: dialogue.answer_at] == speech.prompt(turns[:-1])


def test_turns_in_any_order_start_with_a_question_when_some_leave(speech: Speech) -> None:
    turns = [("assistant", "hello " * 9), ("user", "red"), ("user", "blue"), ("assistant", "Ada")]
    dialogue = speech.dialogue(turns, 16)
    assert dialogue is not None
    assert dialogue.cut
    assert dialogue.tokens[:2] == [END_OF_TEXT, USER]
    assert dialogue.tokens.count(USER) == 2


def test_replies_share_a_prompt_that_leaves_room_for_the_longest(speech: Speech) -> None:
    turns = [("user", "red stone river cloud")]
    whole = speech.exchange(turns, ["Ada", "Bob sings"], 64)
    assert isinstance(whole, Exchange)
    assert whole.prompt == speech.prompt(turns)
    assert whole.replies == [[*speech.ids("Ada"), END], [*speech.ids("Bob sings"), END]]
    longest = max(map(len, whole.replies))
    shorter = speech.exchange(turns, ["Ada", "Bob sings"], len(whole.prompt) + longest - 3)
    assert isinstance(shorter, Exchange)
    assert shorter.cut
    assert len(shorter.prompt) == len(whole.prompt) - 2
    assert shorter.replies == whole.replies


def test_what_cannot_be_used_has_a_reason(speech: Speech) -> None:
    asked = [("user", "red")]
    assert speech.exchange(asked, ["Ada", " \n"], 64) == "empty"
    assert speech.exchange(asked, ["Ada", "Ada"], 64) == "same"
    assert speech.exchange([*asked, ("system", "be good")], ["Ada"], 64) == "roles"
    assert speech.exchange(asked, ["Ada " * 40, "Bob"], 32) == "too_long"


def change_specials(folder: Path, names: dict[str, str]) -> Path:
    text = (folder / "tokenizer.json").read_text("utf-8")
    parts = json.loads(text)
    for token in parts["added_tokens"]:
        if token["content"] in names:
            parts["model"]["vocab"][names[token["content"]]] = parts["model"]["vocab"].pop(token["content"])
            token["content"] = names[token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(parts), "utf-8")
    return folder


CHATML = {"<|user|>": "<|im_start|>", "<|end|>": "<|im_end|>"}


def test_chatml_without_a_template(tmp_path: Path) -> None:
    folder = change_specials(make_tokenizer(tmp_path / "t"), CHATML)
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|endoftext|>"})
    marks = Speech(folder).marks
    assert (marks.user[0], marks.assistant[0], marks.end[0], marks.stop) == (USER, USER, END, END_OF_TEXT)
    assert len(marks.user) > 1


@pytest.mark.parametrize("beside", [True, False])
def test_other_peoples_chat_templates_are_kept_to(tmp_path: Path, beside: bool) -> None:
    folder = change_specials(make_tokenizer(tmp_path / "t"), CHATML)
    template = (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe good<|im_end|>\n' }}{% endif %}"
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    plain = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    write_json(folder / "tokenizer_config.json", plain | ({} if beside else {"chat_template": template}))
    if beside:
        (folder / "chat_template.jinja").write_text(template)
    speech, turns = Speech(folder), [("user", "red stone"), ("assistant", "Ada"), ("user", "blue")]
    messages = [{"role": role, "content": text} for role, text in turns]
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, add_generation_prompt=True)[
        "input_ids"
    ]
    assert speech.prompt(turns) == theirs
    assert (speech.marks.end[0], speech.marks.stop, speech.marks.pad) == (END, END, PAD)
    assert speech.prompt([("user", "<|im_end|>")]).count(END) == 2  # the system's and the user's own


def test_any_other_tokenizer_still_tells_replies_apart(tmp_path: Path) -> None:
    folder = change_specials(make_tokenizer(tmp_path / "t"), {"<|user|>": "[CLS]", "<|end|>": "[SEP]"})
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|endoftext|>"})
    speech = Speech(folder)
    assert speech.marks.around == ((USER,), (END,))
    exchange = speech.exchange([("user", "red")], ["Ada", "Bob"], 32)
    assert isinstance(exchange, Exchange)
    assert [reply[-1] for reply in exchange.replies] == [END_OF_TEXT, END_OF_TEXT]


def test_marks_of_turns_that_are_ours_are_told_from_a_base_models(folder: Path) -> None:
    speech = Speech(folder)
    assert sorted(speech.own_turn_marks()) == [USER, ASSISTANT, END]
    speech.marks = replace(speech.marks, user=(PAD,), assistant=(PAD,), end=(PAD,))
    assert speech.own_turn_marks() == []
