"""Two sides, and what differs between them in words."""

from privllm.manage.rebuild_causes import fingerprints, flat, listed, parameters, symbols


def test_parameters_are_named_by_dotted_key() -> None:
    old = {"clean": {"languages": ["en"], "quality": {"min_words": 20, "max_words": 0}}}
    new = {"clean": {"languages": ["en", "de"], "quality": {"min_words": 21, "max_words": 0}}, "split": {"test": 0.1}}
    found = parameters(old, new)
    assert [cause.says for cause in found] == [
        'clean.languages: ["en"] -> ["en", "de"]', "clean.quality.min_words: 20 -> 21", "split.test: (none) -> 0.1",
    ]  # fmt: skip
    assert found[1].values == {"key": "clean.quality.min_words", "old": 20, "new": 21}


def test_what_dvc_holds_for_equal_is_equal() -> None:
    assert parameters({"a": {"x": 1, "y": [2]}}, {"a": {"y": [2], "x": 1.0}}) == []
    assert len(parameters({"a": {}}, {"a": {"x": None}})) == 2  # {} goes, None comes
    assert flat({"a": {"b": {}}}) == {"a.b": {}}


def side(**modules: dict[str, str]) -> dict:
    """A fingerprint whose modules hash to their symbols."""
    return {
        "python": "3.11",
        "modules": {name: str(found) for name, found in modules.items()},
        "symbols": modules,
        "libraries": {},
    }


def test_symbols_are_named_and_their_outline_is_not_named_for_them() -> None:
    old = side(
        same={"f": "1"},
        pii={"redact": "1", "Span": "1", "Span.end": "1", "gone": "1", "<module>": "1"},
        lost={"g": "1"},
    )
    new = side(
        same={"f": "1"},
        pii={"redact": "2", "Span": "2", "Span.end": "1", "Span.new": "1", "<module>": "2"},
        fresh={"h": "1"},
    )
    assert symbols(old, new) == [
        "fresh is imported now", "lost is no longer imported", "pii.Span.new added", "pii.gone removed", "pii.redact changed",
    ]  # fmt: skip
    statements = side(pii={"<module>": "2"})
    assert symbols(side(pii={"<module>": "1"}), statements) == ["pii changed outside its functions and classes"]
    assert symbols({"modules": {"pii": "?"}}, statements) == ["pii changed"]


def test_libraries_and_python() -> None:
    old, new = side(), side() | {"python": "3.12"}
    old["libraries"], new["libraries"] = {"numpy": "1", "ftfy": "6"}, {"numpy": "2", "orjson": "3"}
    assert [cause.says for cause in fingerprints(old, new)] == [
        "ftfy 6 -> (none)", "numpy 1 -> 2", "orjson (none) -> 3", "Python 3.11 -> 3.12",
    ]  # fmt: skip
    assert fingerprints(old, old) == []


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed([str(i) for i in range(2000)]) == "0, 1, 2 and 1,997 more"
