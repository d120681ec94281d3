"""Splits are pure functions of the input, and nothing that is trained on judges."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.split import SplitConfig
from privllm.tasks.formats import Classified, Dataset, Example, Skipped, Tagged
from privllm.tasks.read_dataset import read_examples
from privllm.tasks.splits import divide, labels_of, without

HALF = SplitConfig(validation=0.25, test=0.25)


def dataset(texts: list[str], split: str = "", label: str = "") -> list[dict]:
    given = {"split": split} if split else {}
    return [{"text": text, "label": label or "even odd".split()[len(text) % 2], **given} for text in texts]


def read(folder: Path, lines: list[dict], kind: str = "classification") -> Dataset:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return read_examples(path, kind)


def places(data: Dataset) -> dict[str, str]:
    divided = divide(data, HALF)
    return {e.content.text: split for split in ("train", "validation", "test") for e in getattr(divided, split)}


@given(st.sets(st.text("abcdefgh", min_size=1, max_size=8), min_size=1, max_size=30))
def test_growth_moves_nothing(tmp_path_factory: pytest.TempPathFactory, more: set[str]) -> None:
    folder = tmp_path_factory.getbasetemp()
    texts = [f"text {i}{'!' * (i % 3)}" for i in range(40)]
    before = places(read(folder, dataset(texts)))
    after = places(read(folder, dataset([*more, *texts])))
    assert {text: after[text] for text in before} == before
    assert set(after) == set(texts) | more


def test_equal_inputs_share_a_split_and_groups_stay_together(tmp_path: Path) -> None:
    lines = [{"input": f"f{i % 20}()", "output": f"Return {i}."} for i in range(60)]
    divided = divide(read(tmp_path, lines, "text2text"), HALF)
    sides = [{e.content.input for e in part} for part in (divided.train, divided.validation, divided.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    grouped = divide(
        read(
            tmp_path,
            [{**line, "input": str(i), "group": f"page {i % 20}"} for i, line in enumerate(lines)],
            "text2text",
        ),
        HALF,
    )
    sides = [{e.group for e in part} for part in (grouped.train, grouped.validation, grouped.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    assert grouped.counts == divided.counts | {
        split: len(getattr(grouped, split)) for split in ("train", "validation", "test")
    }


def test_a_held_out_copy_of_what_is_trained_on_leaves_and_is_counted(tmp_path: Path) -> None:
    lines = [
        *dataset(["a", "bb", "ccc"], "train"),
        *dataset(["a", "dd"], "validation"),
        *dataset(["dd", "bb", "e"], "test"),
    ]
    divided = divide(read(tmp_path, lines), HALF)
    assert [[e.content.text for e in part] for part in (divided.train, divided.validation, divided.test)] == [
        ["a", "bb", "ccc"],
        ["dd"],
        ["e"],
    ]
    assert divided.counts == {"train": 3, "validation": 1, "test": 1, "examples": 8, "seen_before": 3}
    assert divided.labels == ("even", "odd")


def test_what_cannot_be_learnt_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set\.jsonl leaves no example for validation \(2 in all\)"):
        divide(read(tmp_path, [*dataset(["a"], "train"), *dataset(["b"], "test")]), HALF)
    with pytest.raises(UserError, match=r"set\.jsonl has one class only in its training part \(odd, from line 1 on\)"):
        divide(read(tmp_path, [*dataset(["a"], "train"), *dataset(["b"], "validation"), *dataset(["c"], "test")]), HALF)
    unseen = [*dataset(["a", "bb"], "train"), *dataset(["c"], "validation"), *dataset(["d"], "test", "new")]
    with pytest.raises(
        UserError, match=r"set\.jsonl, line 4: the label new is in the test part, but no example to train on has it"
    ):
        divide(read(tmp_path, unseen), HALF)
    none = [
        {"tokens": [c], "labels": ["O"], "split": split}
        for c, split in zip("abc", ("train", "validation", "test"), strict=True)
    ]
    with pytest.raises(UserError, match=r"set\.jsonl marks no entity in its training part"):
        divide(read(tmp_path, none, "tokens"), HALF)
    named = [
        {"tokens": [c], "labels": [f"B-{c}"], "split": split}
        for c, split in zip("aab", ("train", "validation", "test"), strict=True)
    ]
    named[1]["tokens"] = ["x"]
    with pytest.raises(UserError, match=r"set\.jsonl, line 3: the label b"):
        divide(read(tmp_path, named, "tokens"), HALF)


def test_labels_of_an_example() -> None:
    assert labels_of(Example(1, "a", "a", "", Classified("x", "good"))) == {"good"}
    assert labels_of(Example(1, "a", "a", "", Tagged(("x", "y", "z"), ("B-PER", "I-PER", "O")))) == {"PER"}


@pytest.mark.parametrize("kind", ["text2text", "chat"])
def test_what_has_no_labels_is_divided_without_them(tmp_path: Path, kind: str) -> None:
    turns = [{"role": "user", "content": "{}"}, {"role": "assistant", "content": "same"}]
    lines = [
        {"input": f"q{i}", "output": "same"}
        if kind == "text2text"
        else {"messages": [turns[0] | {"content": f"q{i}"}, turns[1]]}
        for i in range(40)
    ]
    divided = divide(read(tmp_path, lines, kind), HALF)
    assert divided.labels == ()
    assert divided.counts["examples"] == 40 == len(divided.train) + len(divided.validation) + len(divided.test)


@pytest.mark.parametrize(
    ("missing", "advice"),
    [("train", "fix their `split`"), ("test", "fix their `split`"), ("", "raise the shares of the split")],
)
def test_an_empty_split_is_named_with_its_remedy(tmp_path: Path, missing: str, advice: str) -> None:
    lines = [
        line
        for split in ("train", "validation", "test")
        if split != missing
        for line in dataset(["a", "bb"], split if missing else "")
    ]
    with pytest.raises(UserError, match=advice):
        divide(read(tmp_path, lines), SplitConfig(0.0, 0.0) if not missing else HALF)


def test_what_choses_may_not_judge_either(tmp_path: Path) -> None:
    """An input of the validation part leaves the test part; the training part keeps all of its own."""
    lines = [*dataset(["a", "bb"], "train"), *dataset(["c"], "validation"), *dataset(["c", "d"], "test")]
    divided = divide(read(tmp_path, lines), HALF)
    assert [len(part) for part in (divided.train, divided.validation, divided.test)] == [2, 1, 1]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_is_unknown_in_either_held_out_part(tmp_path: Path, split: str) -> None:
    texts = {"validation": "c", "test": "d"}
    lines = dataset(["a", "bb"], "train") + [
        line for name in texts for line in dataset([texts[name]], name, "new" if name == split else "odd")
    ]
    with pytest.raises(UserError, match=f"the label new is in the {split} part"):
        divide(read(tmp_path, lines), HALF)


def test_what_turns_out_to_be_of_no_use_leaves_both_and_is_named(tmp_path: Path) -> None:
    data = read(tmp_path, [*dataset([f"text {i}{'!' * (i % 3)}" for i in range(40)]), {"text": "no label"}])
    divided = divide(data, HALF)
    gone = Skipped(divided.test[0].line, "answer_too_long", "it is too long")
    kept, rest = without(data, divided, [gone])
    assert rest.test == divided.test[1:]
    assert rest.counts["examples"] == kept.counts["examples"] == 39
    assert (kept.counts["lines"], kept.counts["skipped"]) == (41, 2)
    assert kept.skipped == (gone, *data.skipped)
    assert without(data, divided, []) == (data, divided)
    with pytest.raises(UserError, match=f"line {gone.line}: it is too long. So it is with all examples for test"):
        without(data, divided, [gone._replace(line=example.line) for example in divided.test])
