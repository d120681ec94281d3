"""A line is an example of its kind or says what is wrong with it; what was changed in it is counted."""

import json
from pathlib import Path

import pytest

from privllm.tasks.formats import (
    SHAPES,
    Chat,
    Classified,
    Dataset,
    Example,
    InputOutput,
    Tagged,
    example_of,
    id_of,
    input_of,
    line_error,
)
from privllm.tasks.line_faults import InvalidLine

GOOD = {
    "classification": {"text": "a fine film", "label": "good"},
    "tokens": {"tokens": ["Ada", "wrote"], "labels": ["B-PER", "O"]},
    "text2text": {"input": "f(x)", "output": "Return x."},
    "chat": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
}


LABELS = {"classification": ("good", "bad"), "tokens": ("PER",)}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("classification", Classified("a fine film", "good")),
        ("tokens", Tagged(("Ada", "wrote"), ("B-PER", "O"))),
        ("text2text", InputOutput("f(x)", "Return x.")),
        ("chat", Chat((("user", "Hi"), ("assistant", "Hello.")))),
    ],
)
def test_every_kind_is_read(kind: str, content: object) -> None:
    example, changes = example_of(3, GOOD[kind], kind)
    assert (example.line, example.content, example.split) == (3, content, "")
    assert example.id == id_of(kind, example.content, "")
    assert not +changes
    json.loads(SHAPES[kind])


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize(
    ("value", "part", "reason"),
    [
        ([1], "JSON object", "wrong_type"),
        ("text", "JSON object", "wrong_type"),
        ({}, "missing", "missing"),
        ({"lable": "good"}, '"lable" is unknown', "missing"),
    ],
)
def test_what_is_no_example_of_any_kind(kind: str, value: object, part: str, reason: str) -> None:
    with pytest.raises(InvalidLine, match=part) as caught:
        example_of(1, value, kind)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("kind", "change", "part", "reason"),
    [
        ("classification", {"text": " "}, '"text" must be a string with something in it', "empty"),
        ("classification", {"text": "a\0b"}, "NUL", "nul"),
        ("classification", {"label": 1}, '"label" must be a string', "wrong_type"),
        ("classification", {"label": "god"}, "params.yaml lists good, bad", "unknown_label"),
        ("classification", {"split": "dev"}, "train, validation, test", "unknown_split"),
        ("tokens", {"labels": ["O"]}, "2 tokens but 1 labels", "unlike_lengths"),
        ("tokens", {"labels": ["PER", "O"]}, "neither O nor B-TYPE nor I-TYPE", "not_bio"),
        ("tokens", {"labels": ["B-", "O"]}, "neither O nor B-TYPE nor I-TYPE", "not_bio"),
        ("tokens", {"labels": ["B-LOC", "O"]}, "params.yaml lists PER", "unknown_label"),
        ("tokens", {"tokens": ["Ada", ""]}, "not empty", "wrong_type"),
        ("tokens", {"tokens": ["Ada", "\0"]}, "not empty", "wrong_type"),
        ("tokens", {"tokens": []}, "not empty", "wrong_type"),
        ("tokens", {"labels": [None, "O"]}, "not empty", "wrong_type"),
        ("tokens", {"tokens": ["Ada", None]}, "gives a label to one that is not hidden", "label_not_hidden"),
        ("text2text", {"output": ""}, '"output" must be a string with something in it', "empty"),
        ("chat", {"messages": []}, "not empty", "wrong_type"),
    ],
)
def test_a_wrong_value_is_named(kind: str, change: dict, part: str, reason: str) -> None:
    with pytest.raises(InvalidLine, match=part) as caught:
        example_of(1, GOOD[kind] | change, kind, LABELS.get(kind, ()))
    assert caught.value.reason == reason


def test_hidden_words_are_the_ones_that_are_asked() -> None:
    content = example_of(1, {"tokens": [None, "wrote", None], "labels": ["B-PER", "O", "O"]}, "tokens")[0].content
    assert content == Tagged((None, "wrote", None), ("B-PER", "O", "O"))
    assert isinstance(content, Tagged)
    assert content.asked() == [0, 2]
    assert Tagged(("Ada", "wrote"), ("B-PER", "O")).asked() == [0, 1]
    assert input_of(content) != input_of(Tagged((None, "wrote"), ("B-PER", "O")))


def test_an_inside_label_without_a_beginning_is_read_as_one_and_counted() -> None:
    line = {"tokens": list("abcde"), "labels": ["I-X", "I-X", "I-Y", "O", "I-Y"]}
    example, changes = example_of(1, line, "tokens")
    assert example.content == Tagged(tuple("abcde"), ("B-X", "I-X", "B-Y", "O", "B-Y"))
    assert changes["repaired"] == 3


def test_inputs_hold_no_answer() -> None:
    first, second = GOOD["chat"]["messages"]
    contents = [example_of(1, GOOD[kind], kind)[0].content for kind in GOOD]
    assert [input_of(content) for content in contents] == ["a fine film", "Ada\x1fwrote", "f(x)", "user\x1fHi"]
    longer = {"messages": [first, second, first, {"role": "assistant", "content": "Again?"}]}
    assert "Again?" not in input_of(example_of(1, longer, "chat")[0].content)


def test_a_question_known_by_itself_changes_no_id() -> None:
    """It is how a baseline finds the context, and nothing that is learnt."""
    plain, told = InputOutput("Who?\n\nAda.", "Ada"), InputOutput("Who?\n\nAda.", "Ada", "Who?")
    assert id_of("text2text", plain, "") == id_of("text2text", told, "")


@pytest.mark.parametrize("unit", ["line", "row"])
def test_a_fault_found_later_names_the_line_too(unit: str) -> None:
    example = Example(2, "a", "a", "", Classified("x", "y"))
    dataset = Dataset(Path("set.csv"), "classification", (example,), {}, unit)
    assert str(line_error(dataset, example, "too long")).startswith(f"set.csv, {unit} 2: too long.")


@pytest.mark.parametrize("length", [60, 61])
def test_what_a_person_wrote_is_repeated_in_part_only(length: int) -> None:
    with pytest.raises(InvalidLine) as caught:
        example_of(1, GOOD["classification"] | {"x" * length: 1}, "classification")
    assert ("x" * 60 in str(caught.value)) is (length == 60)
    assert ("x" * 57 + "..." in str(caught.value)) is (length == 61)


def test_missing_and_unknown_keys_are_both_named() -> None:
    said = r'"label" is missing and "a", "lable" is unknown; a line of classification looks like \{"text"'
    with pytest.raises(InvalidLine, match=said):
        example_of(1, {"text": "x", "lable": "y", "a": 1}, "classification")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_line_may_say_its_split_its_group_and_its_id(split: str) -> None:
    one, _ = example_of(1, GOOD["text2text"] | {"split": split, "group": "g", "id": "i"}, "text2text")
    assert (one.line, one.id, one.group, one.split) == (1, "i", "g", split)


@pytest.mark.parametrize(("id_", "where"), [("", "id"), (" ", "id"), (5, "id"), (None, "group"), ("", "split")])
def test_a_name_is_a_text_with_something_in_it(id_: object, where: str) -> None:
    with pytest.raises(InvalidLine, match=f'"{where}" must be a string'):
        example_of(1, GOOD["text2text"] | {where: id_}, "text2text")
