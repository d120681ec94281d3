"""Completion: the scripts for shells, and the words that they offer in a build."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from privllm.cli import completion
from privllm.core.families import TRAITS
from privllm.engine.pipeline import declared_stages
from privllm.parameters.listing import list_parameters
from privllm.parameters.sections import SECTIONS
from tests.workshop import ROOT, environment

# `privllm` as its script runs it; typer derives the names of its variables from the program's
PROGRAM = "import sys; sys.argv[0] = 'privllm'; from privllm.cli.app import app; app()"
COMPLETIONS = [completion.stages, completion.parameters, completion.tasks, completion.revisions]


def privllm(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT), **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


def completed_in_bash(line: str) -> list[str]:
    words = line.split(" ")
    done = privllm(_PRIVLLM_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str, tmp_path: Path) -> None:
    done = privllm("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert f"_PRIVLLM_COMPLETE=complete_{shell}" in done.stdout
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.stdout, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_it_is_installed_below_home(tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = privllm("--install-completion", "bash", **variables)
    assert done.returncode == 0, done.stderr
    assert "privllm.sh" in (tmp_path / ".bashrc").read_text()
    assert "complete_privllm" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("privllm do", ["doctor"]),
        ("privllm plan co", ["collect"]),
        ("privllm params clean.qual", "clean.quality"),
        ("privllm compare --family ma", ["masked"]),
        ("privllm compare worksp", ["workspace"]),
        ("privllm feedback ran", ["ranking"]),
        ("privllm promote ma", ["major"]),
    ],
)
def test_words_are_completed(line: str, expected: list[str] | str) -> None:
    words = completed_in_bash(line)
    if isinstance(expected, list):
        assert words == expected
    else:
        assert words
        assert all(word.startswith(expected) for word in words)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("dvc.yaml", "params.yaml", "params.schema.json"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_stages_with_and_without_their_item(build: Path) -> None:
    names = set(declared_stages())
    assert set(completion.stages("")) == names | {name.partition("@")[0] for name in names}
    assert completion.stages("pretrain@m") == ["pretrain@masked"]


@pytest.mark.slow
def test_parameters_are_those_that_the_command_lists(build: Path) -> None:
    words = completion.parameters("")
    assert {parameter.key for parameter in list_parameters()} <= set(words)
    assert set(SECTIONS) <= set(words)
    for word in words:
        assert list_parameters(word)


def test_tasks_of_params_yaml_and_tuned_ones(build: Path) -> None:
    (build / "data/finetune/older").mkdir(parents=True)
    (build / "data/finetune/older/training.json").touch()
    tasks = yaml.safe_load((build / "params.yaml").read_text())["finetune"]["tasks"]
    assert completion.tasks("") == sorted([*tasks, "older"])


def test_families() -> None:
    assert completion.families("") == sorted(TRAITS)


def test_branches_and_tags(build: Path) -> None:
    git = ["git", "-c", "user.name=Eva", "-c", "user.email=eva@example.com"]
    for words in (
        ["init", "-q", "-b", "main"],
        ["commit", "-q", "--allow-empty", "-m", "x"],
        ["tag", "privllm@v1.0.0"],
    ):
        subprocess.run([*git, *words], check=True)
    assert completion.revisions("") == ["HEAD", "main", "privllm@v1.0.0", "workspace"]


@pytest.mark.parametrize("complete", COMPLETIONS)
def test_outside_of_a_build_there_is_nothing_and_no_error(
    complete: completion.Completion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "PATH", "/nowhere")
    assert complete("") == []


@pytest.mark.parametrize("complete", [completion.stages, completion.parameters, completion.tasks])
def test_broken_files_are_no_error_in_the_line_that_is_typed(complete: completion.Completion, build: Path) -> None:
    for name in ("dvc.yaml", "params.yaml", "params.schema.json"):
        (build / name).write_text("a: [")
    assert complete("") == []
