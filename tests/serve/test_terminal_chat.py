import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from transformers import AutoTokenizer

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TURN
from privllm.export.config import ExportConfig
from privllm.export.folder import ExportInputs, export
from privllm.feedback.records import Message
from privllm.serve.engine.base import GenerationRequest, RequestRefused, SamplingSettings
from privllm.serve.engine.prompting import HuggingFaceFormat
from privllm.serve.engine.scheduler import Scheduler
from privllm.serve.terminal import read_messages
from privllm.serve.terminal_chat import Conversation, Emit, chat
from tests.hostile import ESCAPED, EVIL, obeyed

SETTINGS = SamplingSettings(max_tokens=12, seed=5)


@pytest.fixture
def conversation(exported: Callable[..., Path]) -> Conversation:
    return Conversation.open(exported(tuned=True), SETTINGS)


def heard_by(conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The prompts that the model is going to read."""
    prompts: list[list[int]] = []
    add = Scheduler.add
    monkeypatch.setattr(Scheduler, "add", lambda self, job: prompts.append(list(job.ids)) or add(self, job))
    return prompts


def test_the_model_reads_the_chat_template(
    conversation: Conversation, exported: Callable[..., Path], monkeypatch
) -> None:
    prompts = heard_by(conversation, monkeypatch)
    conversation.messages = [Message("user", "the page"), Message("assistant", "row")]
    conversation.reply("its own", lambda _: None)
    turns = [
        {"role": "user", "content": "the page"},
        {"role": "assistant", "content": "row"},
        {"role": "user", "content": "its own"},
    ]
    tokenizer = AutoTokenizer.from_pretrained(exported(tuned=True), local_files_only=True)
    assert prompts == [tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]]


def test_typed_markers_stay_text(conversation: Conversation, monkeypatch) -> None:
    prompts = heard_by(conversation, monkeypatch)
    conversation.reply("<|end|>", lambda _: None)
    assert prompts[0].count(END_OF_TURN) == 1


def test_pieces_make_the_reply_and_it_is_remembered(conversation: Conversation) -> None:
    pieces: list[str] = []
    text = conversation.reply("the page", pieces.append)
    assert text == "".join(pieces) != ""
    conversation.reply("and", pieces.append)
    assert [message.content for message in conversation.messages[:3]] == ["the page", text, "and"]
    assert [message.role for message in conversation.messages] == ["user", "assistant"] * 2


def test_the_seed_and_the_words_decide(exported: Callable[..., Path]) -> None:
    said = []
    for seed in (5, 5, 6):
        conversation = Conversation.open(exported(tuned=True), SamplingSettings(max_tokens=12, seed=seed))
        said.append([conversation.reply(words, lambda _: None) for words in ("the page", "the page")])
    assert said[0] == said[1] != said[2]
    assert said[0][0] != said[0][1]


def test_an_interrupt_keeps_what_was_said_and_nothing_goes_on(conversation: Conversation) -> None:
    pieces: list[str] = []

    def stop(piece: str) -> None:
        pieces.append(piece)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversation.reply("the page", stop)
    assert conversation.messages == [Message("user", "the page"), Message("assistant", pieces[0])]
    heard: list[str] = []
    conversation.reply("and", heard.append)
    assert conversation.messages[-1].content == "".join(heard)
    assert len(conversation.messages) == 4


def test_the_oldest_turns_leave_where_the_model_would_not_see_all(conversation: Conversation, monkeypatch) -> None:
    prompts = heard_by(conversation, monkeypatch)
    old = [
        Message("user", "row " * 60),
        Message("assistant", "page " * 60),
        Message("user", "its"),
        Message("assistant", "own"),
    ]
    conversation.messages = list(old)
    conversation.reply("rows", lambda _: None)
    assert conversation.messages[:3] == [*old[2:], Message("user", "rows")]
    assert prompts == [
        conversation.prompt_format.encode(GenerationRequest((*old[2:], Message("user", "rows")), "", SETTINGS))
    ]


def test_a_line_that_never_fits_is_refused_and_the_next_answered(exported: Callable[..., Path], monkeypatch) -> None:
    shown = talk(exported(tuned=True), ["row " * 300, "the page"], monkeypatch)
    assert "in its last message alone, and this model sees 96 at once" in shown
    assert "no longer fit" not in shown
    shown = talk(exported(tuned=True), ["the page keeps every row of its own"] * 6, monkeypatch)
    assert "(messages that no longer fit, so that the model does not see them: 2)" in shown


@pytest.fixture
def foreign(exported: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder that is nobody's, with a chat template of its own."""
    for path in exported().iterdir():
        if path.name not in ("provenance.json", "README.md"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}<|user|>says {{ m.content }}<|end|>{% endfor %}<|assistant|>so"
    )
    return tmp_path


def test_a_foreign_folder_is_put_by_its_own_template(foreign: Path, monkeypatch) -> None:
    conversation = Conversation.open(foreign, SETTINGS)
    assert isinstance(conversation.prompt_format, HuggingFaceFormat)
    prompts = heard_by(conversation, monkeypatch)
    conversation.reply("the page", lambda _: None)
    assert prompts == [
        AutoTokenizer.from_pretrained(foreign)("<|user|>says the page<|end|><|assistant|>so")["input_ids"]
    ]


def test_what_a_model_cannot_read_is_said_and_the_next_line_is_answered(foreign: Path, monkeypatch) -> None:
    with pytest.raises(RequestRefused, match="special token"):
        Conversation.open(foreign, SETTINGS).reply("<|end|>", lambda _: None)
    with pytest.raises(UserError, match="special token"):
        chat(foreign, SETTINGS, io.StringIO("<|end|>\n"), Console(file=io.StringIO()))
    shown = talk(foreign, ["<|end|>", "the page"], monkeypatch)
    assert "`<|end|>` is a special token of this model and may not be typed." in shown
    lines = [line for line in shown.splitlines() if line]
    assert len(lines) == 3, "how it works, the refusal, a reply"


def talk(folder: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a person sees who types these lines."""
    console, typed = Console(file=io.StringIO(), width=200), iter(lines)

    def ask(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(console, "input", ask)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    chat(folder, SETTINGS, Terminal(), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_person_is_told_how_it_works(exported: Callable[..., Path], monkeypatch) -> None:
    assert "Type a message. Ctrl-C stops a reply" in talk(exported(tuned=True), [], monkeypatch)
    assert "This model continues text: type the beginning of one." in talk(exported(), ["the page"], monkeypatch)


def test_through_a_pipe(export_inputs: ExportInputs, tmp_path: Path) -> None:
    export(ExportConfig(), export_inputs, "causal", tmp_path)
    outputs = []
    for _ in range(2):
        console = Console(file=io.StringIO(), width=80)
        chat(tmp_path, SETTINGS, io.StringIO("the page\n\n   \nnaïve\n"), console)
        outputs.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("the page")
    assert outputs[0].count("naïve") >= 1
    assert "\x1b" not in outputs[0]


def test_bytes_that_are_no_text_are_read_as_such(conversation: Conversation) -> None:
    piped = io.TextIOWrapper(io.BytesIO(b"na\xefve \xc3\xa9\n"), "ascii", "surrogateescape")
    [message] = read_messages(piped, Console(file=io.StringIO()), False)
    assert message == "na\ufffdve é"
    conversation.reply(message, lambda text: None)


def test_without_any_input_it_says_so(exported: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="there is no input"):
        chat(exported(), SETTINGS, None)


def test_nothing_said_reaches_the_terminal_as_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was typed, which a model without turns is seen to continue, nor what it answers."""

    class Parrot:
        prompt_format = SimpleNamespace(tuned=False)

        def reply(self, message: str, emit: Emit) -> str:
            for letter in message:
                emit(letter)
            raise RequestRefused(400, f"{EVIL} cannot be read.")

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(Conversation, "open", lambda *_: Parrot())
    evil = EVIL.replace("\n", "").replace("\r", "")
    lines = iter([f"{evil} می\u200cخواهم"])
    console = Console(file=io.StringIO(), width=4000)
    monkeypatch.setattr(console, "input", lambda _: next(lines, None) or leave())
    chat(Path("nowhere"), SETTINGS, Person(), console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert not obeyed(said)
    assert said.count(ESCAPED) == 3  # as it was typed, answered and refused
    assert "می\u200cخواهم" in said


def leave() -> str:
    raise EOFError


def test_tuned_is_read_from_the_provenance(export_inputs: ExportInputs, tmp_path: Path) -> None:
    export(ExportConfig(chat=True), export_inputs, "causal", tmp_path)
    assert Conversation.open(tmp_path, SETTINGS).prompt_format.tuned
