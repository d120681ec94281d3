import io
from pathlib import Path

import pytest
from rich.console import Console
from transformers import AutoTokenizer

from privllm.model.families import load
from privllm.model.generate import SamplingConfig
from privllm.serve import chat as chat_module
from privllm.serve.chat import Conversation, Emit, TextStream, chat
from privllm.serve.export import ExportConfig, ExportInputs, export
from privllm.tokens.encoding import Encoder
from privllm.tokens.speech import Speech
from privllm.tokens.vocabulary import END
from tests.hostile import ESCAPED, EVIL, obeyed

SAMPLING = SamplingConfig(max_new_tokens=12, seed=5)


@pytest.fixture
def conversation(built: Path) -> Conversation:
    return Conversation(
        load("causal", built / "pretrain/causal"), Encoder.open(built / "tokenizer"), Speech(built / "tokenizer").marks, SAMPLING
    )


def test_prompt_is_the_chat_template(conversation: Conversation, built: Path) -> None:
    conversation.history = conversation.prompt("the page")[1:] + conversation.encoder.encode(["row"])[0].tolist() + [END]
    turns = [{"role": "user", "content": "the page"}, {"role": "assistant", "content": "row"}, {"role": "user", "content": "its own"}]
    tokenizer = AutoTokenizer.from_pretrained(built / "tokenizer", local_files_only=True)
    assert conversation.prompt("its own") == tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]


def test_typed_markers_stay_text(conversation: Conversation) -> None:
    assert conversation.prompt("<|end|>").count(END) == 1


def test_pieces_make_the_reply_and_it_is_remembered(conversation: Conversation) -> None:
    pieces: list[str] = []
    text = conversation.reply("the page", pieces.append)
    assert text == "".join(pieces) != ""
    first = list(conversation.history)
    conversation.reply("and", pieces.append)
    assert conversation.history[: len(first)] == first
    assert first[-1] == END


def test_the_end_token_ends_the_reply(conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    said = conversation.encoder.encode(["row"])[0].tolist()

    def generate(model: object, prompt: object, cfg: object, stream: object, never: list[int]) -> None:
        assert END not in never
        for token in [*said, END, *said]:
            stream(token)  # type: ignore[operator]

    monkeypatch.setattr(chat_module, "generate", generate)
    assert conversation.reply("x", lambda _: None) == "row"
    assert conversation.history[-len(said) - 1 :] == [*said, END]


def test_an_interrupt_keeps_what_was_said(conversation: Conversation) -> None:
    def stop(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversation.reply("the page", stop)
    assert conversation.history[-1] == END
    assert conversation.turns == 1


def test_characters_come_whole(built: Path) -> None:
    encoder, pieces = Encoder.open(built / "tokenizer"), []
    text = "naïve 数据 🙂🙃 end"
    stream = TextStream(encoder, pieces.append)
    for token in encoder.encode([text])[0].tolist():
        stream.add(token)
    stream.close()
    assert "".join(pieces) == stream.text == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_through_a_pipe(export_inputs: ExportInputs, tmp_path: Path) -> None:
    export(ExportConfig(), export_inputs, "causal", tmp_path)
    outputs = []
    for _ in range(2):
        console = Console(file=io.StringIO(), width=80)
        chat(tmp_path, SAMPLING, io.StringIO("the page\n\n   \nnaïve\n"), console)
        outputs.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("the page")
    assert outputs[0].count("naïve") >= 1
    assert "\x1b" not in outputs[0]


def test_nothing_said_reaches_the_terminal_as_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was typed, which a model without turns is seen to continue, nor what it answers."""

    class Parrot:
        marks = None

        def reply(self, message: str, emit: Emit) -> str:
            for letter in message:
                emit(letter)
            return message

    monkeypatch.setattr(Conversation, "open", lambda *_: Parrot())
    console = Console(file=io.StringIO(), width=400)
    evil = EVIL.replace("\n", "").replace("\r", "")
    chat(Path("nowhere"), SAMPLING, io.StringIO(f"{evil} می\u200cخواهم\n"), console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert not obeyed(said)
    assert said.count(ESCAPED) == 2
    assert "می\u200cخواهم" in said


def test_tuned_is_read_from_the_provenance(export_inputs: ExportInputs, tmp_path: Path) -> None:
    export(ExportConfig(chat=True), export_inputs, "causal", tmp_path)
    assert Conversation.open(tmp_path, SAMPLING).marks
