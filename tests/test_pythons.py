"""`make test-pythons` installs no torch, and loses no test on the way without a word."""

import re
import sys
from pathlib import Path

import pytest

from tests import pythons
from tests.pythons import PIN, interpreter, left_out, lock_without_torch, needs_torch, outcomes, shortfall
from tests.workshop import ROOT


def pinned(lock: str) -> set[str]:
    return {pin[1] for line in lock.splitlines() if (pin := PIN.match(line))}


@pytest.mark.torch  # the metadata of what is installed say what needs it
def test_an_environment_holds_the_lock_but_what_needs_torch() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    kept = lock_without_torch(lock)
    assert pinned(lock) - pinned(kept) == {
        "torch",
        "lightning",
        "pytorch-lightning",
        "torchmetrics",
        "accelerate",
        "peft",
    }
    assert {"numpy", "transformers", "spacy", "great-expectations"} <= pinned(kept)
    versions = [line for line in kept.splitlines() if PIN.match(line)]
    assert all(line.endswith("\\") for line in versions)
    assert kept.count("--hash=") > len(versions)
    assert not re.search(r"^[^#\n]*\\\n(?! )", kept, re.MULTILINE), "a distribution has lost its hashes"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "needs"), [("torch", True), ("lightning", True), ("peft", True), ("transformers", False), ("numpy", False)]
)
def test_needing_torch(name: str, needs: bool) -> None:
    assert needs_torch(name) is needs


def test_a_test_that_is_never_run_or_newly_skipped_is_a_fault() -> None:
    expected = ["a", "b", "c", "d"]
    found = {"a": "passed", "b": "skipped", "c": "skipped"}
    assert shortfall(expected, found, {"c"}) == ["never run: d", "skipped: b"]
    assert shortfall(["a", "c"], found, {"c"}) == []


def test_what_is_left_out_is_said() -> None:
    said = left_out(["x.py::a", "x.py::b", "y.py::c", "z.py::d"], ["x.py::a", "z.py::d"])
    assert said == "2 of 4 tests need torch, Ray or MkDocs and are left out: x.py 1, y.py 1"


@pytest.mark.slow
def test_outcomes_are_those_of_the_run(tmp_path: Path) -> None:
    file = tmp_path / "test_sample.py"
    marks = ["", "@pytest.mark.skip\n", "@pytest.mark.parametrize('word', ['a b'])\n", ""]
    bodies = [
        "def test_passes(): pass",
        "def test_skips(): pass",
        "def test_words(word): pass",
        "def test_fails(): raise ValueError",
    ]
    file.write_text("import pytest\n\n\n" + "\n\n\n".join(map("".join, zip(marks, bodies, strict=True))))
    names = ["test_passes", "test_skips", "test_words[a b]", "test_fails"]
    code, found = outcomes(sys.executable, [f"{file}::{name}" for name in names], parallel=False)
    assert code == 1
    became = {test.rpartition("::")[2]: outcome for test, outcome in found.items()}
    assert [became[name] for name in names] == ["passed", "skipped", "passed", "failed"]


def test_a_python_that_is_not_there_is_said() -> None:
    with pytest.raises(SystemExit, match=r"there is no Python 3\.99 here"):
        interpreter("3.99")
    assert interpreter(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_one_fault_fails_the_lane(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        pythons, "collected", lambda *words: ["x::a", "x::b"] if words else ["x::a", "x::b", "x::torch"]
    )
    monkeypatch.setattr(pythons, "environment_of", lambda version: version)
    results = {"3.12": (0, {"x::a": "passed", "x::b": "passed"}), "3.13": (0, {"x::a": "passed", "x::b": "skipped"})}
    monkeypatch.setattr(
        pythons, "outcomes", lambda python, tests, parallel=True: results.get(python, (0, {"x::b": "passed"}))
    )
    pythons.main(["3.12"])
    assert "1 of 3 tests" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"Python 3\.13: skipped: x::b"):
        pythons.main(["3.12", "3.13"])
    results["3.12"] = (1, results["3.12"][1])
    with pytest.raises(SystemExit, match=r"Python 3\.12: pytest ended with 1"):
        pythons.main(["3.12"])
