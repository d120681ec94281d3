"""A tuned folder answers lines without answers as it answered the held-out ones when it was judged."""

import io
import json
from pathlib import Path

import pytest

from privllm.core.bio_labels import as_bio
from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.tasks.read_dataset import read_examples
from privllm.tasks.unlabelled import read_inputs
from privllm.train.finetune import FinetuneInputs, finetune
from privllm.train.loop import Work
from privllm.train.predict_lines import BATCH, answers, open_tuned
from tests.train.tiny_tasks import example, make_start, make_tokenizer, tiny, write_examples

TASKS = {"classification": "masked", "tokens": "masked", "text2text": "seq2seq", "chat": "causal"}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tuned model for each kind, by its name, and the examples that they were made from."""
    root = tmp_path_factory.mktemp("apply")
    tokenizer = make_tokenizer(root / "tokenizer")
    for kind, family in TASKS.items():
        start = make_start(family, root / "starts" / family, tokenizer)
        data = write_examples(root / f"{kind}.jsonl", kind)
        finetune(
            kind,
            tiny(kind, family),
            FinetuneInputs(data, start),
            root / kind,
            root / "live" / kind,
            Work(root / "work", "x"),
        )
    return root


def ask(folder: Path, lines: list[dict]) -> list[dict]:
    model = open_tuned(folder)
    stream = io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return list(answers(model, read_inputs(stream, "x", model.kind)))


def bio(line: dict, words: int) -> list[str]:
    labels = ["O"] * words
    for span in line["spans"]:
        labels[span["start"] : span["end"]] = [
            f"B-{span['type']}",
            *[f"I-{span['type']}"] * (span["end"] - span["start"] - 1),
        ]
    return labels


@pytest.mark.parametrize("kind", TASKS)
def test_it_answers_as_it_was_judged(tuned: Path, kind: str) -> None:
    """The oracle: predictions.jsonl, which `finetune` wrote by itself."""
    predictions = [json.loads(line) for line in (tuned / kind / "predictions.jsonl").read_text("utf-8").splitlines()]
    by_content = {one["id"]: one["predicted"] for one in predictions}
    examples = {one.id: one for one in read_examples(tuned / f"{kind}.jsonl", kind).examples}
    lines = [
        json.loads((tuned / f"{kind}.jsonl").read_text("utf-8").splitlines()[examples[i].line - 1]) | {"id": i}
        for i in by_content
    ]
    replies = ask(tuned / kind, lines)
    assert [one["id"] for one in replies] == list(by_content)
    for line, one in zip(lines, replies, strict=True):
        expected = by_content[one["id"]]
        if kind == "tokens":
            assert bio(one, len(line["tokens"])) == list(as_bio(tuple(expected)))
            assert all(0 < span["probability"] <= 1 and span["text"] for span in one["spans"])
        elif kind == "classification":
            assert one["label"] == expected
            assert 1 / 3 <= one["probability"] <= 1
        else:
            assert one["text"] == expected


def test_only_hidden_words_are_answered_where_there_are_any(tuned: Path) -> None:
    (reply,) = ask(tuned / "tokens", [{"tokens": ["Ada", None, "Bob", "Eve"]}])
    assert all((span["start"], span["end"], span["text"]) == (1, 2, "…") for span in reply["spans"])


def test_lines_keep_their_order_however_many(tuned: Path) -> None:
    lines = [{"id": str(i), "text": example("classification", i)["text"]} for i in range(2 * BATCH + 3)]
    replies = ask(tuned / "classification", lines)
    assert [reply["id"] for reply in replies] == [str(i) for i in range(2 * BATCH + 3)]
    (alone,) = ask(tuned / "classification", lines[5:6])
    assert alone["label"] == replies[5]["label"]
    assert alone["probability"] == pytest.approx(replies[5]["probability"], abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("classification", {"text": "stone " * 200}),
        ("tokens", {"tokens": ["stone"] * 200}),
        ("text2text", {"input": "stone " * 200}),
        ("chat", {"messages": [{"role": "user", "content": "stone " * 200}]}),
    ],
)
def test_what_was_cut_is_said(tuned: Path, kind: str, line: dict) -> None:
    (reply,) = ask(tuned / kind, [line])
    assert reply["cut"] is True
    assert "id" not in reply


def test_what_is_no_tuned_model_is_explained(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"there are chat, classification, text2text, tokens\): run `dvc repro finetune@nowhere`"
    ):
        open_tuned(tuned / "nowhere")
    with pytest.raises(UserError, match="holds no tuned model"):
        open_tuned(tuned / "starts" / "masked")
    write_json(tmp_path / "task" / "skipped.json", {"skipped": "too few"})
    with pytest.raises(UserError, match="its task was skipped: too few"):
        open_tuned(tmp_path / "task")
