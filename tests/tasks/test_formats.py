"""Every bad line is named with its file and number; what is read adds up."""

import json
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.tasks.formats import SHAPES, Chat, Classified, InputOutput, Tagged, input_of, line_error, read_examples

GOOD = {
    "classification": {"text": "a fine film", "label": "good"},
    "tokens": {"tokens": ["Ada", "wrote"], "labels": ["B-PER", "O"]},
    "text2text": {"input": "f(x)", "output": "Return x."},
    "chat": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "set.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("classification", Classified("a fine film", "good")),
        ("tokens", Tagged(("Ada", "wrote"), ("B-PER", "O"))),
        ("text2text", InputOutput("f(x)", "Return x.")),
        ("chat", Chat((("user", "Hi"), ("assistant", "Hello.")))),
    ],
)
def test_every_kind_is_read(tmp_path: Path, kind: str, content: object) -> None:
    path = written(tmp_path, GOOD[kind], "", GOOD[kind] | {"id": "x"}, GOOD[kind])
    dataset = read_examples(path, kind)
    assert [example.content for example in dataset.examples] == [content]
    assert dataset.counts == {"lines": 4, "blank": 1, "repeated": 2, "examples": 1, "repaired": 0}
    json.loads(SHAPES[kind])


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("{broken", "is not JSON"),
        ("[1]", "JSON object"),
        ("{}", "missing"),
        ('"text"', "JSON object"),
        ('{"text": NaN}', "is not JSON"),
        ('{"lable": "good"}', '"lable" is unknown'),
    ],
)
def test_what_is_no_example_of_any_kind(tmp_path: Path, kind: str, line: str, part: str) -> None:
    path = written(tmp_path, GOOD[kind], line)
    with pytest.raises(UserError) as caught:
        read_examples(path, kind)
    assert f"{path}, line 2: " in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change", "part"),
    [
        ("classification", {"text": " "}, '"text" must be a string with something in it'),
        ("classification", {"label": 1}, '"label" must be a string'),
        ("classification", {"label": "god"}, "params.yaml lists good, bad"),
        ("classification", {"split": "dev"}, "train, validation, test"),
        ("classification", {"split": "train"}, "give it to all of them"),
        ("tokens", {"labels": ["O"]}, "2 tokens but 1 labels"),
        ("tokens", {"labels": ["PER", "O"]}, "neither O nor B-TYPE nor I-TYPE"),
        ("tokens", {"labels": ["B-", "O"]}, "neither O nor B-TYPE nor I-TYPE"),
        ("tokens", {"labels": ["B-LOC", "O"]}, "params.yaml lists PER"),
        ("tokens", {"tokens": ["Ada", ""]}, "not empty"),
        ("tokens", {"tokens": []}, "not empty"),
        ("tokens", {"labels": [None, "O"]}, "not empty"),
        ("tokens", {"tokens": ["Ada", None]}, "gives a label to one that is not hidden"),
        ("text2text", {"output": ""}, '"output" must be a string with something in it'),
        ("chat", {"messages": []}, "at least two"),
        ("chat", {"messages": [{"role": "user", "content": "Hi"}] * 2}, "take turns"),
        (
            "chat",
            {"messages": [*GOOD["chat"]["messages"], {"role": "user", "content": "Bye"}]},
            "last message must be the assistant",
        ),
        (
            "chat",
            {"messages": [{"role": "system", "content": "Be kind"}, GOOD["chat"]["messages"][1]]},
            "the user begins",
        ),
        ("chat", {"messages": [{"role": "user"}, GOOD["chat"]["messages"][1]]}, '"role" and "content"'),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, kind: str, change: dict, part: str) -> None:
    path = written(tmp_path, GOOD[kind], GOOD[kind] | change)
    labels = {"classification": ("good", "bad"), "tokens": ("PER",)}.get(kind, ())
    with pytest.raises(UserError) as caught:
        read_examples(path, kind, labels)
    assert f"{path}, line 2: " in str(caught.value)
    assert part in str(caught.value)


def test_hidden_words_are_the_ones_that_are_asked(tmp_path: Path) -> None:
    path = written(tmp_path, {"tokens": [None, "wrote", None], "labels": ["B-PER", "O", "O"]})
    content = read_examples(path, "tokens").examples[0].content
    assert content == Tagged((None, "wrote", None), ("B-PER", "O", "O"))
    assert isinstance(content, Tagged)
    assert content.asked() == [0, 2]
    assert Tagged(("Ada", "wrote"), ("B-PER", "O")).asked() == [0, 1]
    assert input_of(content) != input_of(Tagged((None, "wrote"), ("B-PER", "O")))


def test_one_id_twice(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD["text2text"] | {"id": "a"}, {"id": "a", "input": "g()", "output": "Nothing."})
    with pytest.raises(UserError, match="line 2: the id a stands on line 1 already"):
        read_examples(path, "text2text")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "set.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"set\.jsonl holds no examples"):
        read_examples(tmp_path / "set.jsonl", "chat")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl is missing"):
        read_examples(tmp_path / "none.jsonl", "chat")
    (tmp_path / "latin.jsonl").write_bytes(b'{"input": "caf\xe9", "output": "x"}\n')
    with pytest.raises(UserError, match=r"latin\.jsonl, line 1: byte 15 is not UTF-8"):
        read_examples(tmp_path / "latin.jsonl", "text2text")
    path = written(tmp_path, GOOD["text2text"], {"input": "x" * 100, "output": "y"})
    monkeypatch.setattr("privllm.tasks.formats.MAX_LINE_BYTES", 60)
    with pytest.raises(UserError, match="line 2: it is longer than 60 bytes"):
        read_examples(path, "text2text")
    monkeypatch.setattr("privllm.tasks.formats.MAX_FILE_BYTES", 60)
    with pytest.raises(UserError, match="cut it down"):
        read_examples(path, "text2text")


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD["text2text"]).encode() + b"\r\n")
    assert read_examples(path, "text2text").counts["examples"] == 1


def test_an_inside_label_without_a_beginning_is_read_as_one_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, {"tokens": list("abcde"), "labels": ["I-X", "I-X", "I-Y", "O", "I-Y"]})
    dataset = read_examples(path, "tokens")
    assert dataset.examples[0].content == Tagged(tuple("abcde"), ("B-X", "I-X", "B-Y", "O", "B-Y"))
    assert dataset.counts["repaired"] == 3


def test_inputs_hold_no_answer(tmp_path: Path) -> None:
    first, second = GOOD["chat"]["messages"]
    contents = [read_examples(written(tmp_path, GOOD[kind]), kind).examples[0].content for kind in GOOD]
    assert [input_of(content) for content in contents] == ["a fine film", "Ada\x1fwrote", "f(x)", "user\x1fHi"]
    longer = written(tmp_path, {"messages": [first, second, first, {"role": "assistant", "content": "Again?"}]})
    assert "Again?" not in input_of(read_examples(longer, "chat").examples[0].content)


def test_a_fault_found_later_names_the_line_too(tmp_path: Path) -> None:
    dataset = read_examples(written(tmp_path, "", GOOD["text2text"]), "text2text")
    assert str(line_error(dataset, dataset.examples[0], "too long")).startswith(f"{dataset.path}, line 2: too long.")


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_a_line_may_have_four_megabytes_and_not_a_byte_more(tmp_path: Path, more: int, fits: bool) -> None:
    line = json.dumps(GOOD["text2text"])
    path = written(tmp_path, line, line.replace("}", ' , "id": "x"}').ljust((4 << 20) - 1 + more))
    if fits:
        assert read_examples(path, "text2text").counts["lines"] == 2
    else:
        with pytest.raises(UserError, match="line 2: it is longer than 4,194,304 bytes"):
            read_examples(path, "text2text")


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_may_have_two_gigabytes_and_not_a_byte_more(tmp_path: Path, more: int) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(GOOD["chat"]) + "\n", "utf-8")
    with path.open("r+b") as file:
        file.truncate((2 << 30) + more)  # a hole: no disk is filled
    with pytest.raises(
        UserError, match="a dataset may have 2,147,483,648: cut it down" if more else "line 2: it is longer than"
    ):
        read_examples(path, "chat")


@pytest.mark.parametrize("length", [60, 61])
def test_what_a_person_wrote_is_repeated_in_part_only(tmp_path: Path, length: int) -> None:
    path = written(tmp_path, GOOD["classification"] | {"x" * length: 1})
    with pytest.raises(UserError) as caught:
        read_examples(path, "classification")
    assert ("x" * 60 in str(caught.value)) is (length == 60)
    assert ("x" * 57 + "..." in str(caught.value)) is (length == 61)


def test_missing_and_unknown_keys_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r'"label" is missing and "a", "lable" is unknown; a line of classification looks like \{"text"'
    ):
        read_examples(written(tmp_path, {"text": "x", "lable": "y", "a": 1}), "classification")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_line_may_say_its_split_its_group_and_its_id(tmp_path: Path, split: str) -> None:
    [one] = read_examples(
        written(tmp_path, GOOD["text2text"] | {"split": split, "group": "g", "id": "i"}), "text2text"
    ).examples
    assert (one.line, one.id, one.group, one.split) == (1, "i", "g", split)


def test_equal_inputs_are_one_group_and_equal_contents_in_two_splits_are_two_examples(tmp_path: Path) -> None:
    first, second, third = read_examples(
        written(tmp_path, {"input": "a", "output": "x"}, {"input": "a", "output": "y"}, {"input": "b", "output": "x"}),
        "text2text",
    ).examples
    assert first.group == second.group != third.group
    assert len({first.id, second.id, third.id}) == 3
    both = written(
        tmp_path,
        GOOD["text2text"] | {"split": "train"},
        GOOD["text2text"] | {"split": "test"},
        GOOD["text2text"] | {"split": "test"},
    )
    assert read_examples(both, "text2text").counts == {
        "lines": 3,
        "blank": 0,
        "repeated": 1,
        "examples": 2,
        "repaired": 0,
    }


@pytest.mark.parametrize(("id_", "where"), [("", "id"), (" ", "id"), (5, "id"), (None, "group"), ("", "split")])
def test_a_name_is_a_text_with_something_in_it(tmp_path: Path, id_: object, where: str) -> None:
    with pytest.raises(UserError, match=f'"{where}" must be a string'):
        read_examples(written(tmp_path, GOOD["text2text"] | {where: id_}), "text2text")


def test_only_the_first_line_has_a_byte_order_mark(tmp_path: Path) -> None:
    line = json.dumps(GOOD["text2text"]).encode()
    (tmp_path / "set.jsonl").write_bytes(line + b"\n\xef\xbb\xbf" + line + b"\n")
    with pytest.raises(UserError, match="line 2: it is not JSON"):
        read_examples(tmp_path / "set.jsonl", "text2text")
