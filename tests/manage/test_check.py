"""What DVC cannot take is named before it is asked. That edits and merges are seen is tested with DVC itself, in test_races.py."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from privllm.manage.check import Problem, find_problems, fix_problems, input_folders
from tests.workshop import environment

PIPELINE = """
stages:
  collect: {cmd: c, deps: [data/sources, data/promoted/x.json], outs: [data/collect]}
  clean: {cmd: c, deps: [data/collect, data/collect/sources.json], outs: [data/clean]}
  feedback: {cmd: c, deps: [data/feedback], outs: [data/feedback_clean]}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / ".dvc").mkdir()
    for folder in ("data/sources/deep", "data/feedback", "data/collect"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/sources/a.txt").write_text("words")
    return tmp_path


def test_only_what_no_stage_makes_is_an_input(root: Path) -> None:
    assert input_folders(root) == ["data/feedback", "data/sources"]
    assert find_problems(root) == []


def test_what_dvc_cannot_take_is_named_with_a_command(root: Path) -> None:
    os.mkfifo(root / "data/sources/deep/it's a pipe")
    (root / "data/sources/gone").symlink_to("nowhere")
    (root / "data/sources/round").symlink_to("round")
    (root / "data/sources/.dvcignore").write_text("")
    Path(os.fsdecode(os.fsencode(root) + b"/data/feedback/caf\xe9.jsonl")).write_text("{}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "data/sources/s"))
        problems = find_problems(root)
    assert all(problem.blocks_dvc and not problem.fix for problem in problems)
    assert [(problem.names, problem.command) for problem in problems] == [
        (["data/sources/.dvcignore"], "mv -t data data/sources/.dvcignore"),
        (["data/sources/gone", "data/sources/round"], "rm data/sources/gone data/sources/round"),
        (["data/feedback/caf\\udce9.jsonl"], "mv -t ELSEWHERE $'data/feedback/caf\\351.jsonl'"),
        (
            ["data/sources/deep/it's a pipe", "data/sources/s"],
            """rm 'data/sources/deep/it'"'"'s a pipe' data/sources/s""",
        ),
    ]


def test_links_to_folders_and_files_are_no_problem(root: Path) -> None:
    (root / "data/sources/link").symlink_to("a.txt")
    (root / "data/sources/folder").symlink_to("deep")
    assert find_problems(root) == []


def test_a_file_that_may_not_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "a.txt")  # root may read everything
    (problem,) = find_problems(root)
    assert problem.command == "chmod u+r data/sources/a.txt"


def test_what_dvc_passes_over_is_not_looked_at(root: Path) -> None:
    (root / ".dvcignore").write_text("deep\n")
    os.mkfifo(root / "data/sources/deep/pipe")
    assert find_problems(root) == []


def test_many_files_are_counted_and_few_are_named() -> None:
    lines = Problem("Many:", [f"file {number}" for number in range(1234)], "rm").lines()
    assert lines[:2] == ["Many:", "  file 0"]
    assert lines[-2:] == ["  ... and 1,224 more", "  -> rm"]


def test_only_what_loses_nothing_is_mended_by_itself() -> None:
    done: list[str] = []
    safe, unsafe = Problem("a", [], "touch", lambda: done.append("touched")), Problem("b", [], "rm")
    assert fix_problems([safe, unsafe]) == [unsafe]
    assert done == ["touched"]


def test_where_there_is_no_build_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(["privllm", "check"], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "run this from the root of the repository" in done.stderr


def test_files_that_python_would_take_for_libraries_are_named(root: Path) -> None:
    (root / "stages").mkdir()
    (root / "stages/clean.py").write_text("import ftfy\n")
    (root / "stages/broken.py").write_text("import (\n")
    (root / "mine.py").touch()
    (root / "numpy.py").touch()  # no stage imports it
    assert find_problems(root) == []
    (root / "json.py").touch()
    (root / "ftfy").mkdir()
    assert [problem.names for problem in find_problems(root)] == [["json.py (json)"]]
    (root / "ftfy/__init__.py").touch()
    (problem,) = find_problems(root)
    assert problem.names == ["ftfy (ftfy)", "json.py (json)"]
    assert problem.command == "mv ftfy my_ftfy   (or another name)"
    assert fix_problems([problem]) == [problem]
