"""An action travels if it belongs to the build; what could do harm is refused, and named."""

import json
from pathlib import Path
from typing import Any

import pytest

from privllm.engine.actions import action_path
from privllm.engine.cache import Cache
from privllm.engine.store import Store
from privllm.manage import travelling
from privllm.manage.travelling import ActionRecord, belonging, is_known, needed_objects, parse_action, read_local

KEY, CODE, MD5 = "0" * 32, "c" * 32, "a" * 32
GOOD: dict[str, Any] = {"code": CODE, "inputs": [MD5], "value": {"n": 1}, "files": {"deep/00001.parquet": [MD5, 3]}}


def parse(**changes: Any) -> ActionRecord:
    return parse_action(json.dumps(GOOD | changes).encode(), KEY, Path("somewhere"))


def test_an_action_is_read() -> None:
    assert parse() == ActionRecord(KEY, CODE, frozenset([MD5]), {MD5: 3}, Path("somewhere"))
    assert parse(inputs=[], files={}, value=None).objects == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"more": 1}, "fields"),
        ({"code": "../../etc"}, "no digest"),
        ({"code": 7}, "no digest"),
        ({"inputs": {MD5: 1}}, "no list"),
        ({"inputs": ["A" * 32]}, "no MD5"),
        ({"inputs": [MD5 + "\n"]}, "no MD5"),
        ({"inputs": [MD5] * 10_001}, "too many"),
        ({"files": [MD5]}, "no map"),
        ({"files": {"/etc/passwd": [MD5, 3]}}, "outside"),
        ({"files": {"../x": [MD5, 3]}}, "outside"),
        ({"files": {"a/../../x": [MD5, 3]}}, "outside"),
        ({"files": {"a//x": [MD5, 3]}}, "outside"),
        ({"files": {".scratch/x": [MD5, 3]}}, "outside"),
        ({"files": {"a\\x": [MD5, 3]}}, "outside"),
        ({"files": {"a\x00": [MD5, 3]}}, "outside"),
        ({"files": {"": [MD5, 3]}}, "outside"),
        ({"files": {"x": MD5}}, "no MD5 and size"),
        ({"files": {"x": ["../" + MD5[3:], 3]}}, "is none"),
        ({"files": {"x": [MD5 + ".dir", 3]}}, "is none"),
        ({"files": {"x": [MD5, "3"]}}, "size"),
        ({"files": {"x": [MD5, True]}}, "size"),
        ({"files": {"x": [MD5, -1]}}, "size"),
        ({"files": {"x": [MD5, 2**50]}}, "size"),
        ({"files": {"x": [MD5, 3], "y": [MD5, 4]}}, "another size"),
    ],
)
def test_what_could_do_harm_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(**changes)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        json.dumps(GOOD).encode()[:-1],
        json.dumps(GOOD | {"value": float("nan")}).encode(),
        b"[" * 100_000,
        json.dumps(GOOD).encode().replace(b'{"n": 1}', b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"it is not JSON|fields"):
        parse_action(content, KEY, Path("somewhere"))


def test_what_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travelling, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="longer"):
        parse(value="x" * 100)


def record(key: str, inputs: str, objects: str) -> ActionRecord:
    return ActionRecord(key, CODE, frozenset(inputs), dict.fromkeys(objects, 1), Path())


def test_what_belongs_to_the_build() -> None:
    """Read from what it holds, through steps in between; or written into it."""
    records = {
        "of a file": record("of a file", "s", "x"),
        "of that": record("of that", "xs", "y"),
        "last": record("last", "y", ""),
        "writes a file": record("writes a file", "?", "s"),
        "no input": record("no input", "", "s"),
        "of a lost file": record("of a lost file", "sl", "z"),
        "of its output": record("of its output", "z", "zz"),
        "nothing": record("nothing", "", ""),
        "half": record("half", "?", "sl"),
    }
    assert belonging(records, ["s"]) == {"of a file", "of that", "last", "writes a file", "no input"}
    assert needed_objects([records["half"], records["of that"]]) == {"s": 1, "l": 1, "y": 1}


def copy(out: Path, source: Path) -> int:
    (out / source.name).write_text(source.read_text())
    return 1


def test_the_actions_of_the_store_are_read_by_their_code(tmp_path: Path) -> None:
    cache, source = Cache(tmp_path / "cache"), tmp_path / "in"
    source.write_text("text")
    for code in (CODE, "d" * 32):
        Store(cache, code).map(copy, [(source,)], tmp_path / "out", "copy")
    (found,) = read_local(cache, {CODE}).values()
    assert (found.code, found.key) == (CODE, Store(cache, CODE).key_of(copy, (source,)))
    assert found.inputs == set(found.objects)
    assert is_known(cache, found)
    cache.path(next(iter(found.objects))).unlink()
    assert not is_known(cache, found)
    action_path(cache, found.key).write_text('{"value": 1, "files": {}}')
    assert read_local(cache, {CODE}) == {}, "of an older format"
