"""Scores of a project's own: the mean over the same examples as ours, for tasks of their kinds."""

from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.extensions import Extensions
from privllm.tasks.own_scores import own_scores, task_scores
from tests.extend import TYPED, Extended, make_extended

HOUSE = Extensions("", ("extensions.house",))
IMPORT = "from privllm.tasks.own_scores import TaskScore\n\n\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    return make_extended(tmp_path / "project", monkeypatch)


def test_the_score_of_the_guide(project: Extended) -> None:
    project.write("extensions/house.py", TYPED["extensions/numbers.py"])
    scores = own_scores(HOUSE, "chat", ["a 1", "b 2"], ["1 c", "3"])
    assert scores["same_numbers"].over.tolist() == [1.0, 0.0]
    assert scores["same_numbers"].value == 0.5
    assert own_scores(HOUSE, "tokens", [["O"]], [["O"]]) == {}
    assert own_scores(HOUSE, "chat", [], [])["same_numbers"].value == 0


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ('"loss": TaskScore(("chat",), max)', "a score of privllm's own"),
        ('"bleu": TaskScore(("chat",), max)', "a score of privllm's own"),
        ('"My Score": TaskScore(("chat",), max)', "small letters"),
        ('"mine": max', "must be TaskScore"),
        ('"mine": TaskScore("chat", max)', "they must be a tuple of classification, "),
        ('"mine": TaskScore((), max)', "they must be a tuple"),
        ('"mine": TaskScore(("chatt",), max)', "they must be a tuple"),
        ('"mine": TaskScore(("chat",), 3)', "no function of two answers"),
    ],
)
def test_one_that_cannot_be_used_is_refused_with_its_line(project: Extended, entry: str, fault: str) -> None:
    project.write("extensions/house.py", f"{IMPORT}TASK_SCORES = {{\n    {entry},\n}}\n")
    with pytest.raises(UserError, match=f"house.py, line 5: .*{fault}"):
        task_scores(HOUSE)


@pytest.mark.parametrize(
    ("body", "fault"),
    [("None", "returned None for an answer"), ("float('inf')", "returned inf"), ("1 / 0", "failed on an answer")],
)
def test_what_is_no_number_is_refused(project: Extended, body: str, fault: str) -> None:
    project.write(
        "extensions/house.py", f'{IMPORT}TASK_SCORES = {{"mine": TaskScore(("chat",), lambda a, b: {body})}}\n'
    )
    with pytest.raises(UserError, match=f"house.py, line 4: `mine` {fault}"):
        own_scores(HOUSE, "chat", ["a"], ["b"])
