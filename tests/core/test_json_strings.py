"""Every string of a JSON value, at any depth."""

from privllm.core.json_strings import strings_in

VALUE = {"a": ["b", {"c": "d"}, 5, None], "e": "f"}


def test_every_string_is_looked_at() -> None:
    assert sorted(strings_in(VALUE)) == ["b", "d", "f"]
    assert sorted(strings_in(VALUE, with_keys=True)) == ["a", "b", "c", "d", "e", "f"]
    assert list(strings_in("text")) == ["text"]


def test_depth_does_not_matter() -> None:
    value: object = "deep"
    for _ in range(100_000):
        value = [value]
    assert list(strings_in(value)) == ["deep"]
