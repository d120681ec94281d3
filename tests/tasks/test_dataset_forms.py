"""A tiny file of each form gives the right example; a file of two forms, or of none, is refused with a sentence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from privllm.core.errors import UserError
from privllm.tasks.dataset_forms import FORMS, native, told_form
from privllm.tasks.formats import KEYS, Chat, Classified, Content, InputOutput, Tagged
from privllm.tasks.line_faults import InvalidLine
from privllm.tasks.read_dataset import read_examples

HELLO = Chat((("user", "Hi"), ("assistant", "Hello.")))
KIND = Chat((("system", "Be kind."), *HELLO.turns))
OPENAI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "Be kind."}]}
SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
ASKED, ANSWERED = {"question": "Who?", "context": "Ada did."}, InputOutput("Who?\n\nAda did.", "Ada", "Who?")
CASES: list[tuple[str, dict[str, Any], Content]] = [
    ("OpenAI messages", {"messages": OPENAI}, HELLO),
    ("OpenAI messages", {"messages": [SYSTEM, *OPENAI]}, KIND),
    ("ShareGPT conversations", {"conversations": SHAREGPT, "id": "QWJ_0"}, HELLO),
    ("ShareGPT conversations", {"conversations": SHAREGPT, "system": "Be kind."}, KIND),
    ("Alpaca", {"instruction": "Hi", "input": "", "output": "Hello."}, HELLO),
    ("Alpaca", {"instruction": "Hi", "output": "Hello.", "system": "Be kind."}, KIND),
    ("Alpaca", {"instruction": "Add", "input": "1 2", "output": "3"}, Chat((("user", "Add\n\n1 2"), ("assistant", "3")))),
    ("prompt and completion", {"prompt": "Hi", "completion": "Hello."}, HELLO),
    ("question and answer", {"question": "Hi", "answer": "Hello."}, HELLO),
    *((f"{text} and {label}", {text: "a fine film", label: "good"}, Classified("a fine film", "good"))
      for text in ("text", "sentence", "content") for label in ("label", "labels", "category")),
    *((f"tokens and {tags}", {"tokens": ["Ada", "wrote"], tags: ["B-PER", "O"]}, Tagged(("Ada", "wrote"), ("B-PER", "O")))
      for tags in ("labels", "ner_tags", "tags")),
    *((f"{a} and {b}", {a: "long", b: "short"}, InputOutput("long", "short"))
      for a, b in (("input", "output"), ("source", "target"), ("document", "summary"), ("article", "highlights"))),
    ("Alpaca", {"instruction": "Add", "input": "1 2", "output": "3"}, InputOutput("Add\n\n1 2", "3")),
    ("SQuAD with answers", ASKED | {"answers": {"text": ["Ada", "Ada did"], "answer_start": [0, 0]}}, ANSWERED),
    ("SQuAD with answers", ASKED | {"answers": [{"text": "Ada"}]}, ANSWERED),
    ("SQuAD with answer", ASKED | {"answer": "Ada"}, ANSWERED),
]  # fmt: skip
KIND_OF = {Chat: "chat", Classified: "classification", Tagged: "tokens", InputOutput: "text2text"}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(("form", "row", "content"), CASES)
def test_every_form_is_read(tmp_path: Path, form: str, row: dict, content: Content) -> None:
    dataset = read_examples(written(tmp_path, row), KIND_OF[type(content)])
    assert dataset.form == form
    (example,) = dataset.examples
    assert example.content == content
    assert dataset.notes == ()


def test_every_form_has_a_case_and_gives_a_line_of_its_kind() -> None:
    read = {(KIND_OF[type(content)], form) for form, _, content in CASES}
    assert read == {(kind, form.name) for kind, forms in FORMS.items() for form in forms}
    for name, row, content in CASES:
        kind = KIND_OF[type(content)]
        (form,) = (form for form in FORMS[kind] if form.name == name)
        assert set(native(form, row)) - {"id", "question", "group"} == KEYS[kind]


@pytest.mark.parametrize(
    ("kind", "rows", "said"),
    [
        (
            "classification",
            [{"text": "a", "sentence": "b", "label": "x"}],
            'as text and label ("text", "label", from line 1 on) and as sentence and label',
        ),
        (
            "chat",
            [{"prompt": "a", "completion": "b"}, {"question": "a", "answer": "b"}],
            'and as question and answer ("question", "answer", from line 2 on)',
        ),
        ("chat", [{"messages": [], "conversations": []}], "OpenAI messages"),
        ("tokens", [{"tokens": ["a"], "labels": ["O"], "ner_tags": ["O"]}], "tokens and ner_tags"),
        ("text2text", [{"input": "a", "output": "b", "source": "c", "target": "d"}], "source and target"),
        ("text2text", [{"question": "a", "context": "b", "answers": ["c"], "answer": "d"}], "SQuAD with answer"),
    ],
)
def test_two_forms_are_refused_with_both_names(tmp_path: Path, kind: str, rows: list, said: str) -> None:
    with pytest.raises(UserError, match="can be read in two ways") as caught:
        read_examples(written(tmp_path, *rows), kind)
    assert said in str(caught.value)
    assert "Take out the columns" in str(caught.value)


def test_no_form_shows_the_columns_and_the_forms(tmp_path: Path) -> None:
    many = {f"c{number}": 1 for number in range(14)}
    with pytest.raises(
        UserError, match=re.escape('has the columns "txt", "lable", of which no form of classification')
    ) as caught:
        read_examples(written(tmp_path, {"txt": "a", "lable": "b"}), "classification")
    assert "What is read as classification: text + label; text + labels" in str(caught.value)
    with pytest.raises(UserError, match='"c11" and 2 more'):
        read_examples(written(tmp_path, many), "chat")


def test_a_column_of_nothing_tells_nothing(tmp_path: Path) -> None:
    """As in a table that holds several data sets."""
    row = {"text": "a", "label": "x", "sentence": None, "category": None}
    dataset = read_examples(written(tmp_path, row), "classification")
    assert dataset.form == "text and label"
    assert dataset.notes == ('it is read as text and label; its columns "sentence", "category" are not read',)


def test_numbers_name_rows_too_and_contexts_are_groups() -> None:
    (plain,) = (form for form in FORMS["text2text"] if form.name == "input and output")
    assert native(plain, {"input": "a", "output": "b", "id": 7, "group": None, "x": 1}) == {
        "input": "a",
        "output": "b",
        "id": "7",
    }
    assert [native(plain, {"input": "a", "output": "b", "split": name})["split"] for name in ("dev", "test")] == [
        "validation",
        "test",
    ]
    (squad,) = (form for form in FORMS["text2text"] if form.name == "SQuAD with answers")
    rows = [{"question": q, "context": c, "answers": ["a"]} for q, c in (("1", "x"), ("2", "x"), ("1", "y"))]
    first, second, third = (native(squad, row)["group"] for row in rows)
    assert first == second != third


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("SQuAD with answers", {"question": "q", "context": "c", "answers": {"text": []}}, "no_answer"),
        ("SQuAD with answers", {"question": "q", "context": "c", "answers": 5}, "wrong_type"),
        ("SQuAD with answers", {"question": "q", "context": " ", "answers": ["a"]}, "empty"),
        ("SQuAD with answers", {"question": "q", "answers": ["a"]}, "missing"),
        ("Alpaca", {"instruction": "i", "input": 5, "output": "o"}, "wrong_type"),
    ],
)
def test_a_row_that_its_form_cannot_use_says_why(name: str, row: dict, reason: str) -> None:
    (form,) = (form for form in FORMS["text2text"] if form.name == name)
    with pytest.raises(InvalidLine) as caught:
        native(form, row)
    assert caught.value.reason == reason


def test_without_rows_there_is_no_form() -> None:
    assert told_form(Path("x"), "chat", [], "line") is None
