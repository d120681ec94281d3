from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, END_OF_TURN, SPECIAL_TOKENS
from privllm.feedback.records import Message
from privllm.serve.engine.base import GenerationRequest, RequestRefused, SamplingSettings
from privllm.serve.engine.prompting import HuggingFaceFormat, open_folder
from privllm.tokens.chat_format import Exchange, Speech
from tests.serve.fakes import completion

TURNS = (Message("user", "the page"), Message("assistant", "row"), Message("user", "its <|end|> own"))


def ask(*messages: Message) -> GenerationRequest:
    return GenerationRequest(messages, "", SamplingSettings())


@pytest.fixture
def foreign(exported: Callable[..., Path], tmp_path: Path) -> Path:
    """The same weights and tokenizer, as a folder that is nobody's."""
    for path in exported().iterdir():
        if (path.suffix == ".json" and path.name != "provenance.json") or path.suffix == ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_tuned_model_gets_the_chat_template_and_typed_markers_stay_text(exported: Callable[..., Path]) -> None:
    folder = exported(tuned=True)
    prompt_format = open_folder(folder)[1]
    ids = prompt_format.encode(ask(*TURNS))
    assert ids.count(END_OF_TURN) == 3
    plain = [Message(m.role, m.content.replace("<|end|>", "very")) for m in TURNS]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    turns = [{"role": m.role, "content": m.content} for m in plain]
    assert (
        prompt_format.encode(ask(*plain))
        == tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    )
    assert END_OF_TURN in prompt_format.end_ids


def test_a_tuned_model_is_asked_as_it_was_taught(exported: Callable[..., Path]) -> None:
    """What `align` learns from is rendered by `Speech`; the reply it learnt to end is ended by the same token."""
    prompt_format, speech = open_folder(exported(tuned=True))[1], Speech(exported(tuned=True))
    found = speech.exchange([(m.role, m.content) for m in TURNS], ["its row"], 96)
    assert isinstance(found, Exchange)
    assert prompt_format.encode(ask(*TURNS)) == found.prompt
    assert found.replies[0][-1] in prompt_format.end_ids


def test_a_begun_reply_stands_open_behind_the_prompt(exported: Callable[..., Path], foreign: Path) -> None:
    typed_mark = " keeps <|end|> its"
    for folder, begun in ((exported(tuned=True), typed_mark), (foreign, " keeps its")):
        prompt_format = open_folder(folder)[1]
        ids = prompt_format.encode(GenerationRequest(TURNS[:1], "", SamplingSettings(), begun=begun))
        prompt = prompt_format.encode(ask(*TURNS[:1]))
        assert (ids[: len(prompt)], prompt_format.decode(ids[len(prompt) :])) == (prompt, begun)
        assert END_OF_TURN not in ids[len(prompt) :]
    with pytest.raises(RequestRefused, match="may not be typed"):
        prompt_format.encode(GenerationRequest(TURNS[:1], "", SamplingSettings(), begun=typed_mark))
    untuned = open_folder(exported())[1]
    ids = untuned.encode(GenerationRequest(TURNS[:1], "", SamplingSettings(), begun=typed_mark))
    assert ids == untuned.encode(completion(f"the page{typed_mark}"))


def test_an_untuned_model_continues_the_last_message(exported: Callable[..., Path]) -> None:
    prompt_format = open_folder(exported())[1]
    ids = prompt_format.encode(ask(*TURNS))
    assert ids == prompt_format.encode(completion("its <|end|> own"))
    assert END_OF_TURN not in prompt_format.end_ids


@pytest.mark.parametrize("tuned", [False, True])
def test_marks_of_turns_are_never_said_but_to_end(exported: Callable[..., Path], tuned: bool) -> None:
    prompt_format = open_folder(exported(tuned=tuned))[1]
    assert set(prompt_format.banned_ids) == set(range(len(SPECIAL_TOKENS))) - prompt_format.end_ids
    assert END_OF_TEXT in prompt_format.end_ids
    assert {*prompt_format.end_ids, *prompt_format.banned_ids} == set(range(len(SPECIAL_TOKENS)))


def test_a_system_prompt_opens_the_first_question(exported: Callable[..., Path]) -> None:
    prompt_format = open_folder(exported(tuned=True))[1]
    asked = Message("user", f"be good\n\n{TURNS[0].content}")
    assert prompt_format.encode(ask(Message("system", "be good"), *TURNS)) == prompt_format.encode(
        ask(asked, *TURNS[1:])
    )
    with pytest.raises(RequestRefused, match="may only be the first one") as refused:
        prompt_format.encode(ask(*TURNS, Message("system", "be good")))
    assert (refused.value.status, refused.value.param) == (400, f"messages[{len(TURNS)}].role")


def test_ends_of_the_settings_of_generation_count_too(exported: Callable[..., Path]) -> None:
    folder = exported(tuned=True)
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 5, 7]}', "utf-8")
    assert open_folder(folder)[1].end_ids == {0, 5, 7}


def test_any_other_folder_speaks_through_its_own_tokenizer(foreign: Path, exported: Callable[..., Path]) -> None:
    prompt_format = open_folder(foreign)[1]
    assert isinstance(prompt_format, HuggingFaceFormat)
    assert prompt_format.model.digest
    assert prompt_format.tuned
    assert prompt_format.encode(ask(TURNS[0])) == open_folder(exported(tuned=True))[1].encode(ask(TURNS[0]))
    assert prompt_format.decode(prompt_format.encode(completion("the page"))) == "the page"
    with pytest.raises(RequestRefused, match="special token"):
        prompt_format.encode(ask(*TURNS))
    with pytest.raises(RequestRefused, match="chat template does not take") as refused:
        prompt_format.encode(ask(Message("system", "be good")))
    assert refused.value.status == 400


def test_what_cannot_be_served_is_explained(tmp_path: Path, foreign: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        open_folder(tmp_path / "nowhere")
    (foreign / "model.safetensors").rename(foreign / "pytorch_model.bin")
    with pytest.raises(UserError, match="could run code"):
        open_folder(foreign)
