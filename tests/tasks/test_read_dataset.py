"""Used and skipped rows are all rows; what was skipped, changed or ignored is said; numbers get their names."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privllm.core.errors import UserError
from privllm.tasks.formats import Chat, Classified, Tagged
from privllm.tasks.read_dataset import read_examples, summary_of, told_of

GOOD = {"text": "a fine film", "label": "good"}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "set.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def labels_in(path: Path, labels: Sequence[str] = ()) -> list[str]:
    return [example.content.label for example in read_examples(path, "classification", tuple(labels)).examples]


def test_used_and_skipped_are_what_was_found(tmp_path: Path) -> None:
    path = written(
        tmp_path, GOOD, "", GOOD, "{half", GOOD | {"text": " "}, {"text": "b"}, GOOD | {"text": "c", "label": "god"}
    )
    dataset = read_examples(path, "classification", ("good", "bad"))
    assert dataset.counts == {"lines": 7, "blank": 1, "repeated": 1, "skipped": 4, "examples": 1, "repaired": 0}
    assert [(row.line, row.reason) for row in dataset.skipped] == [
        (4, "not_json"),
        (5, "empty"),
        (6, "missing"),
        (7, "unknown_label"),
    ]
    assert summary_of(dataset) == {
        "form": "text and label",
        "notes": [],
        "skipped": {"empty": 1, "missing": 1, "not_json": 1, "unknown_label": 1},
        "skipped_rows": {f"line {row.line}": row.fault for row in dataset.skipped},
    }
    first, *others = told_of(dataset)
    assert first == f"note: 4 lines of {path} hold no example and are skipped; 1 are used."
    assert others[0].startswith(f"  {path}, line 4: it is not JSON")
    assert len(others) == 4


def test_the_terminal_names_the_first_few(tmp_path: Path) -> None:
    dataset = read_examples(written(tmp_path, GOOD, *["{"] * 9), "classification")
    *_, last = told_of(dataset)
    assert len(told_of(dataset)) == 1 + 5 + 1
    assert last == "  and 4 more, which the task's report names"


def test_what_was_changed_or_ignored_is_said(tmp_path: Path) -> None:
    turns = [{"from": "gpt", "value": "Welcome."}, {"from": "human", "value": "Hi"}, {"from": "tool", "value": "5"}]
    row = {"conversations": [*turns, {"from": "gpt", "value": "Hello."}], "source": "web"}
    path = written(tmp_path, row)
    dataset = read_examples(path, "chat")
    assert dataset.examples[0].content == Chat((("user", "Hi"), ("assistant", "Hello.")))
    assert (dataset.counts["tool_turns"], dataset.counts["openings"]) == (1, 1)
    assert told_of(dataset) == [
        f'note: {path}: it is read as ShareGPT conversations; its columns "source" are not read.',
        f"note: {path}: 1 calls and answers of tools are left out.",
        f"note: {path}: 1 messages of the assistant before the first question are left out.",
    ]


def test_an_id_twice_becomes_another(tmp_path: Path) -> None:
    dataset = read_examples(written(tmp_path, GOOD | {"id": 1}, GOOD | {"id": 1, "text": "b"}), "classification")
    first, second = dataset.examples
    assert (first.id, dataset.counts["renamed"]) == ("1", 1)
    assert second.id not in ("", "1")


@pytest.mark.parametrize("text", ["", "\n \n"])
@pytest.mark.parametrize("name", ["set.jsonl", "set.json", "set.csv"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"holds no examples|neither a JSON array"):
        read_examples(tmp_path / name, "chat")


@pytest.mark.parametrize(
    ("line", "said"), [("{half", "it is not JSON"), ('{"text": "a", "label": " "}', '"label" must be')]
)
def test_a_file_without_one_row_that_can_be_used_names_the_first(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UserError, match="None of its 1 examples") as caught:
        read_examples(written(tmp_path, line), "classification")
    assert f"set.jsonl, line 1: {said}" in str(caught.value)


def test_splits_are_given_to_all_or_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2: some lines have"):
        read_examples(written(tmp_path, GOOD, GOOD | {"text": "b", "split": "train"}), "classification")


def test_equal_inputs_are_one_group_and_equal_contents_in_two_splits_are_two_examples(tmp_path: Path) -> None:
    lines = [{"input": "a", "output": "x"}, {"input": "a", "output": "y"}, {"input": "b", "output": "x"}]
    first, second, third = read_examples(written(tmp_path, *lines), "text2text").examples
    assert first.group == second.group != third.group
    assert len({first.id, second.id, third.id}) == 3
    both = written(tmp_path, *(lines[0] | {"split": split} for split in ("train", "test", "test")))
    counts = read_examples(both, "text2text").counts
    assert (counts["repeated"], counts["examples"]) == (1, 2)


def test_labels_that_are_numbers_are_named(tmp_path: Path) -> None:
    numbered = written(tmp_path, *({"text": str(i), "label": i % 2} for i in range(4)))
    assert labels_in(numbered) == ["0", "1", "0", "1"]
    assert read_examples(numbered, "classification").notes == ("its labels are numbers: they are their own names",)
    assert labels_in(numbered, ["neg", "pos"]) == ["neg", "pos", "neg", "pos"]
    assert labels_in(numbered, ["0", "1"]) == ["0", "1", "0", "1"]
    (tmp_path / "set.csv").write_text("text,label\na,1\nb,0\nc,-1\n")
    assert labels_in(tmp_path / "set.csv", ["neg", "pos"]) == ["pos", "neg"]
    assert labels_in(tmp_path / "set.csv") == ["1", "0"]
    assert labels_in(written(tmp_path, GOOD | {"label": "01"}, GOOD | {"label": 2.0})) == ["01", "2"]
    names = {"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["a", "b", "c", "d"], "label": [1, 0, -1, 2]})
    path = tmp_path / "set.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), path)
    dataset = read_examples(path, "classification")
    assert [example.content for example in dataset.examples] == [Classified("a", "good"), Classified("b", "bad")]
    assert [(row.line, row.reason) for row in dataset.skipped] == [(3, "no_label"), (4, "unknown_label")]
    assert dataset.notes == ("its labels are numbers: they are named bad, good, in this order",)
    assert told_of(dataset)[1] == f"note: 2 rows of {path} hold no example and are skipped; 2 are used."


@pytest.mark.parametrize("label", [True, 1.5, ["a"], {"a": 1}])
def test_a_label_of_another_type_is_skipped(tmp_path: Path, label: object) -> None:
    dataset = read_examples(written(tmp_path, GOOD, {"text": "b", "label": label}), "classification")
    assert [row.reason for row in dataset.skipped] == ["wrong_type"]


def test_tags_that_are_numbers_need_names(tmp_path: Path) -> None:
    rows = [{"tokens": ["Ada", "wrote"], "ner_tags": [1, 0]}]
    expected = Tagged(("Ada", "wrote"), ("B-PER", "O"))
    with pytest.raises(UserError, match=r"line 1: its tags are numbers, and nothing names them"):
        read_examples(written(tmp_path, *rows), "tokens")
    listed = read_examples(written(tmp_path, *rows), "tokens", ("O", "B-PER", "I-PER"))
    (tmp_path / "set.json").write_text(json.dumps({"names": ["O", "B-PER"], "data": rows}))
    named = read_examples(tmp_path / "set.json", "tokens", ("PER",))
    assert listed.examples[0].content == named.examples[0].content == expected
