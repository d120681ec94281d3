"""Files of this repository, and what YAML knows that is no plain value."""

from pathlib import Path

import pytest
import yaml

from privllm.core.plain_yaml import MOST_NESTERS, parse_yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_both_loaders_read_our_files_alike(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert parse_yaml(text) == parse_yaml(text.encode()) == yaml.safe_load(text)


def test_nothing_is_nothing() -> None:
    assert parse_yaml("") is None


@pytest.mark.parametrize("text", ["a: [1", "!!python/object/apply:os.getcwd []", "a: b: c"])
def test_what_is_broken_or_an_object_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def test_an_error_names_the_character_and_the_line() -> None:
    with pytest.raises(yaml.YAMLError, match=r"'\\t'(.|\n)*line 2"):
        parse_yaml("a:\n\tb: 1")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_what_is_nested_too_deeply_is_refused(part: str) -> None:
    with pytest.raises(yaml.YAMLError, match="too deeply"):
        parse_yaml(part * 100_000)


def test_the_faster_parser_stands_as_much_nesting_as_it_is_given() -> None:
    value = parse_yaml("[" * MOST_NESTERS + "]" * MOST_NESTERS)
    for _ in range(MOST_NESTERS - 1):
        (value,) = value
    assert value == []


@pytest.mark.slow
def test_a_broken_file_that_is_nested_too_deeply_is_refused_too() -> None:
    with pytest.raises(yaml.YAMLError, match="too deeply"):
        parse_yaml("[" * (MOST_NESTERS - 1))


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="not UTF-8"):
        parse_yaml(b"a: caf\xe9")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "`a` stands in line 1 and again in line 3"),
        ("x:\n  a: 1\n  a: 1\n", "`a` stands in line 2 and again in line 3"),
        ("x: [{a: 1, a: 2}]", "`a` stands in line 1 and again in line 1"),
        ("x: {'a': 1, a: 2}", "`a` stands"),
        ("b: {x: 1}\nc:\n  <<: &a {y: 1, y: 2}\n", "`y` stands in line 3"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError, match=message):
        parse_yaml(text)
    nested = f"{text}\n# {'[' * MOST_NESTERS}"  # for the parser in Python
    with pytest.raises(yaml.YAMLError, match=message):
        parse_yaml(nested)


def test_keys_that_are_not_equal_are_kept() -> None:
    assert parse_yaml("1: a\n'1': b\n") == {1: "a", "1": "b"}


def test_what_is_merged_may_be_overridden_also_where_it_is_merged_again() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b\n  <<: *a\n  x: 2\nc:\n  <<: *b\n  y: 3\nd: *b\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml(text)["c"] == {"x": 2, "y": 3}
