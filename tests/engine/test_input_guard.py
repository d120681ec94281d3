"""A stage whose input changes under its hands fails instead of pairing the old result with the new input."""

import os
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.input_guard import InputGuard

DECLARED = {"deps": ["in", "single.txt"], "params": ["a"]}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("in/one", "in/deep/two", "single.txt", "other"):
        (tmp_path / name).write_text(name)
    (tmp_path / "params.yaml").write_text("a: {x: 1}\nb: {x: 1}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_changed(root: Path) -> None:
    guard = InputGuard(DECLARED)
    (root / "other").write_text("changed")
    (root / "params.yaml").write_text("b: {x: 2}\na:\n  x: 1  # the same\n")
    guard.verify()


@pytest.mark.parametrize("change", ["edit", "add", "remove", "replace", "single", "params"])
def test_a_change_is_named(root: Path, change: str) -> None:
    guard = InputGuard(DECLARED)
    if change == "edit":
        os.utime(root / "in/one", (1, 1))
        (root / "in/one").write_text("eno/ni")
    elif change == "add":
        (root / "in/deep/three").write_text("x")
    elif change == "remove":
        (root / "in/deep/two").unlink()
    elif change == "replace":
        before = (root / "in/one").stat()
        (root / "new").write_text("in/two")
        os.utime(root / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        (root / "new").replace(root / "in/one")
    elif change == "single":
        (root / "single.txt").write_text("longer than before")
    else:
        (root / "params.yaml").write_text("a: {x: 2}\n")
    named = {
        "edit": "in/one",
        "add": "in/deep/three",
        "remove": "A file in in/deep",
        "replace": "in/one",
        "single": "single.txt",
    }
    with pytest.raises(UserError, match=named.get(change, "params.yaml") + " was changed while this ran"):
        guard.verify()


def test_a_stage_that_nobody_declared_has_no_inputs(root: Path) -> None:
    InputGuard({}).verify()
