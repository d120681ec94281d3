from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, END_OF_TURN, MARKS, SPECIAL_TOKENS
from privllm.feedback.records import Message
from privllm.serve.engine.base import Ask, Refused, Settings
from privllm.serve.engine.prompting import Foreign, open_folder
from privllm.tokens.chat_format import Exchange, Speech

TURNS = (Message("user", "the page"), Message("assistant", "row"), Message("user", "its <|end|> own"))


def ask(*messages: Message) -> Ask:
    return Ask(messages, "", Settings())


@pytest.fixture
def foreign(exported: Callable[..., Path], tmp_path: Path) -> Path:
    """The same weights and tokenizer, as a folder that is nobody's."""
    for path in exported().iterdir():
        if (path.suffix == ".json" and path.name != "provenance.json") or path.suffix == ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_tuned_model_gets_the_chat_template_and_typed_markers_stay_text(exported: Callable[..., Path]) -> None:
    folder = exported(tuned=True)
    voice = open_folder(folder)[1]
    ids = voice.ids(ask(*TURNS))
    assert ids.count(END_OF_TURN) == 3
    plain = [Message(m.role, m.content.replace("<|end|>", "very")) for m in TURNS]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    turns = [{"role": m.role, "content": m.content} for m in plain]
    assert voice.ids(ask(*plain)) == tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert END_OF_TURN in voice.ends


def test_a_tuned_model_is_asked_as_it_was_taught(exported: Callable[..., Path]) -> None:
    """What `align` learns from is rendered by `Speech`; the reply it learnt to end is ended by the same token."""
    voice, speech = open_folder(exported(tuned=True))[1], Speech(exported(tuned=True))
    found = speech.exchange([(m.role, m.content) for m in TURNS], ["its row"], 96)
    assert isinstance(found, Exchange)
    assert voice.ids(ask(*TURNS)) == found.prompt
    assert found.replies[0][-1] in voice.ends


def test_an_untuned_model_continues_the_last_message(exported: Callable[..., Path]) -> None:
    voice = open_folder(exported())[1]
    ids = voice.ids(ask(*TURNS))
    assert ids == voice.ids(Ask(None, "its <|end|> own", Settings()))
    assert END_OF_TURN not in voice.ends


@pytest.mark.parametrize("tuned", [False, True])
def test_marks_of_turns_are_never_said_but_to_end(exported: Callable[..., Path], tuned: bool) -> None:
    voice = open_folder(exported(tuned=tuned))[1]
    assert set(voice.never) == set(range(len(SPECIAL_TOKENS))) - voice.ends
    assert END_OF_TEXT in voice.ends
    assert (END_OF_TEXT, *MARKS) == tuple(range(len(SPECIAL_TOKENS)))


def test_our_models_know_no_system_messages(exported: Callable[..., Path]) -> None:
    with pytest.raises(Refused, match="`user` and `assistant` only") as refused:
        open_folder(exported())[1].ids(ask(Message("system", "be good"), *TURNS))
    assert (refused.value.status, refused.value.param) == (400, "messages[0].role")


def test_any_other_folder_speaks_through_its_own_tokenizer(foreign: Path, exported: Callable[..., Path]) -> None:
    voice = open_folder(foreign)[1]
    assert isinstance(voice, Foreign)
    assert voice.model.digest
    assert voice.tuned
    assert voice.ids(ask(TURNS[0])) == open_folder(exported(tuned=True))[1].ids(ask(TURNS[0]))
    assert voice.decode(voice.ids(Ask(None, "the page", Settings()))) == "the page"
    with pytest.raises(Refused, match="special token"):
        voice.ids(ask(*TURNS))
    with pytest.raises(Refused, match="chat template does not take") as refused:
        voice.ids(ask(Message("system", "be good")))
    assert refused.value.status == 400


def test_what_cannot_be_served_is_explained(tmp_path: Path, foreign: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        open_folder(tmp_path / "nowhere")
    (foreign / "model.safetensors").rename(foreign / "pytorch_model.bin")
    with pytest.raises(UserError, match="could run code"):
        open_folder(foreign)
