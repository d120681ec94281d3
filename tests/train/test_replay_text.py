"""General text for a base model: files where there are some, else what the model says; from scratch nothing."""

import json
from pathlib import Path

import pytest

from privllm.core.base_model import Start
from privllm.core.errors import UserError
from privllm.tokens.base_models import take_starts
from privllm.tokens.chat_format import Speech
from privllm.tokens.encode import Encoder
from privllm.tokens.general_text import FILE, MEASURED, READ, NewText, ReplayConfig, read_general
from privllm.tokens.special_ids import special_ids
from privllm.train import replay_text
from privllm.train.replay_text import add_general_text, replay_files, texts_of, token_texts
from tests.foreign import save_foreign

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CFG = ReplayConfig(samples=160, tokens=16, measured=0.3)


def clean(text: str) -> tuple[str, dict[str, int]]:
    return text.replace("a@b.example", "<EMAIL>"), {}


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """data/start of a build that begins with a base model, which converses."""
    folder = tmp_path / "base/x"
    save_foreign(folder, "causal", "llama", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    settings |= {"chat_template": CHATML, "eos_token": "<|im_end|>", "bos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (tmp_path / "replay").mkdir()
    return tmp_path / "start"


def take(start: Path, place: str = "data/base/x") -> dict:
    starts = {name: Start(place, "base") for name in ("causal", "tokenizer")}
    return take_starts(starts, start.parent / "promoted", start.parent / "base", start)


def add(start: Path, report: dict, cfg: ReplayConfig = CFG) -> None:
    add_general_text(cfg, report, start.parent / "replay", start, clean)


def test_from_scratch_there_is_none_and_no_file_is_opened(start: Path) -> None:
    (start.parent / "replay/a.txt").write_bytes(b"\xff\xfe broken")
    report = take(start, "scratch")
    add(start, report)
    assert report["causal"] == take(start, "scratch")["causal"]
    assert [path.name for path in (start / "causal").iterdir()] == ["start.json"]


def test_files_are_cleaned_cut_and_never_mixed_with_samples(start: Path) -> None:
    long_text = "The committee met on Tuesday, and a@b.example read the report. " * 12
    (start.parent / "replay/sub").mkdir()
    (start.parent / "replay/sub/long.txt").write_text(long_text, "utf-8")
    (start.parent / "replay/rows.jsonl").write_text(
        f"{json.dumps({'text': 'It was agreed by all of them.'})}\n\n", "utf-8"
    )
    (start.parent / "replay/rows.jsonl.dvc").write_text("outs: []", "utf-8")
    report = take(start)
    add(start, report)
    assert report["causal"]["general_text"]["from"] == "data/replay"
    assert report["causal"]["general_text"]["files"] == 2
    texts = [*read_general(start / "causal", READ), *read_general(start / "causal", MEASURED)]
    special, encoder = special_ids(start / "tokenizer"), Encoder.open(start / "tokenizer")
    assert {int(text.tokens[0]) for text in texts} == {special.begin}
    assert all(len(text.tokens) <= CFG.tokens + 1 for text in texts)
    written = "".join(encoder.decode(text.tokens[1:]) for text in texts)
    assert "EMAIL" in written
    assert "a@b.example" not in written


def test_pieces_of_a_file_are_the_file(start: Path) -> None:
    take(start)
    (text,) = texts_of(_written(start.parent / "a.md", "naïve façades of the committee " * 9))
    pieces = list(token_texts(CFG, [text], start / "tokenizer"))
    joined = [token for piece in pieces for token in piece.tokens[1:]]
    special = special_ids(start / "tokenizer")
    assert joined[-1] == special.end, "only the last piece ends"
    assert Speech(start / "tokenizer").plain.decode(joined[:-1]) == text


def _written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("line", ["{", "[]", '{"txt": "a"}', '{"text": 7}', "7"])
def test_a_line_without_text_is_named(tmp_path: Path, line: str) -> None:
    path = _written(tmp_path / "a.jsonl", f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(UserError, match="line 2"):
        list(texts_of(path))


def test_a_file_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"a\.txt is not UTF-8"):
        list(texts_of(tmp_path / "a.txt"))
    assert replay_files(tmp_path) == [tmp_path / "a.txt"]
    assert replay_files(tmp_path / "none") == []


def test_a_base_writes_the_same_texts_again(start: Path) -> None:
    report = take(start)
    add(start, report)
    counts = report["causal"]["general_text"]
    assert counts["from"] == "the base model"
    assert counts["read"] > 0 < counts["measured"]
    before = (start / "causal" / FILE).read_bytes()
    again = take(start)
    assert not (start / "causal" / FILE).exists()
    add(start, again)
    assert (start / "causal" / FILE).read_bytes() == before
    assert again == report
    none = take(start)
    add(start, none, ReplayConfig(samples=0))
    assert "general_text" not in none["causal"]


def test_a_conversation_is_a_question_and_its_whole_answer(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no answer is left out; the marks of the template stand before the question."""
    take(start)
    speech = Speech(start / "tokenizer")
    question, answer = speech.ids("what is it"), speech.ids("the report")
    end = speech.marks.end[speech.marks.last]
    between = [*speech.marks.user_end, *speech.marks.assistant]
    whole = [*question, *between, *answer, end]
    asked: dict = {}

    def drawn(model, opening, draws, stops, never):
        asked.update(opening=opening, stops=stops, never=never, draws=draws)
        yield from (whole, question, [*between, *answer, end], [*question, *between, end])

    monkeypatch.setattr("privllm.models.sample_batch.draw", drawn)
    texts = list(replay_text.own_conversations(None, CFG, speech, 4))
    assert texts == [NewText([*asked["opening"], *whole], given=len(asked["opening"]))]
    prompt = speech.prompt([("user", "what is it")])
    assert prompt == [*asked["opening"], *question, *between]
    assert (asked["stops"], asked["draws"].stops) == ((end,), 2)
    assert {*asked["never"]}.isdisjoint(whole)
