"""Expectations of a project's own, judged by Great Expectations beside ours."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privllm.core.errors import UserError
from privllm.core.tables import read_folder
from privllm.engine.extensions import Extensions
from privllm.validate.own_expectations import own_checks, own_expectations
from privllm.validate.recipe import ValidateConfig, validate
from tests.extend import TYPED, Extended, make_extended

HOUSE = Extensions("", ("extensions.house",))
IMPORT = "from privllm.validate.own_expectations import Expectation\n\n\n"
SENTENCE = "No document is marked as a draft"
Document = Callable[..., dict[str, Any]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    return make_extended(tmp_path / "project", monkeypatch)


def judged(found: Any) -> dict[str, Any]:
    return validate(ValidateConfig(), found.inputs, found.out, found.docs, extensions=HOUSE)


@pytest.mark.slow
def test_those_of_the_guide_pass_and_fail(project: Extended, corpus: Callable[..., Any], document: Document) -> None:
    project.write("extensions/house.py", TYPED["extensions/drafts.py"])
    good = corpus([document(number) for number in range(30)])
    report = judged(good)
    verdict = (good.out / "verdict.json").read_bytes()
    assert SENTENCE in (good.docs / "index.html").read_text()
    assert set(read_folder(good.out, [SENTENCE])[SENTENCE].to_pylist()) == {0.0}
    ours = good.validate()
    assert report["expectations"] == ours["expectations"] + 2
    assert (good.out / "verdict.json").read_bytes() == verdict, "what comes after would be made again"
    bad = corpus([*(document(number) for number in range(30)), document(99, source="a.txt", text="a DRAFT")])
    with pytest.raises(UserError, match=rf'"{SENTENCE}": 1 of 31 documents \(a.txt .*; allowed: at most 0'):
        judged(bad)
    assert json.loads((bad.out / "verdict.json").read_text()) == {"passed": False}


def test_a_warning_stops_nothing_and_none_is_not_judged(
    project: Extended, corpus: Callable[..., Any], document: Document
) -> None:
    project.write(
        "extensions/house.py",
        f'{IMPORT}EXPECTATIONS = {{"Vowels": Expectation(lambda text: None if "amberfield" in text else -1, min_value=0)}}\n',
    )
    report = judged(corpus([document(number) for number in range(30)]))
    (warning,) = report["warnings_of"]
    assert re.fullmatch(r"Vowels: \d+ of 30 documents", warning)


@pytest.mark.parametrize("value", ["'a'", "float('nan')", "[1]"])
def test_a_figure_that_is_no_number_names_the_document(
    project: Extended, corpus: Callable[..., Any], document: Document, value: str
) -> None:
    project.write(
        "extensions/house.py", f'{IMPORT}EXPECTATIONS = {{"Mine": Expectation(lambda text: {value}, min_value=0)}}\n'
    )
    with pytest.raises(
        UserError, match=r"house.py, line 4: `Mine` returned .* for (notes|mail)/\d+.txt: it must be a finite"
    ):
        judged(corpus([document(number) for number in range(3)]))


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ('"Mine": 3', "must be Expectation"),
        ('"Mine": Expectation("wordz", min_value=1)', "has no figure: .* words, "),
        ('"Mine": Expectation("source", min_value=1)', "has no figure"),
        ('"Mine": Expectation("words")', "has no limit"),
        ('"Mine": Expectation("words", min_value="1")', "no numbers, or in the wrong order"),
        ('"Mine": Expectation("words", min_value=2, max_value=1)', "no numbers, or in the wrong order"),
        ('"Mine": Expectation("words", min_value=1, severity="bad")', "a severity other than warning and critical"),
        ('"Mine": Expectation("words", min_value=1, mostly=0)', "no share"),
        ('"Mine": Expectation("words", min_value=1, mostly=1.5)', "no share"),
        ('"words": Expectation(len, min_value=1)', "the name of a column"),
        ('"a\\nb": Expectation(len, min_value=1)', "a sentence on one line"),
        ('"": Expectation(len, min_value=1)', "a sentence on one line"),
    ],
)
def test_one_that_cannot_be_used_is_refused_with_its_line(project: Extended, entry: str, fault: str) -> None:
    project.write("extensions/house.py", f"{IMPORT}EXPECTATIONS = {{\n    {entry},\n}}\n")
    with pytest.raises(UserError, match=f"(?s)house.py, line 5: .*{fault}"):
        own_expectations(HOUSE)


def test_a_sentence_of_ours_is_taken(project: Extended) -> None:
    project.write("extensions/house.py", f'{IMPORT}EXPECTATIONS = {{"Taken": Expectation(len, min_value=1)}}\n')
    assert [check.name for check in own_checks(HOUSE, set())] == ["Taken"]
    with pytest.raises(UserError, match="an expectation of privllm's own"):
        own_checks(HOUSE, {"Taken"})
