"""All of params.yaml is checked once, before any stage, and again only after an edit; no stage's key takes part in it."""

import json
import subprocess
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.work_paths import PARAMS_CHECK_FILE
from privllm.engine import params_check
from privllm.engine.fingerprint import closure
from privllm.engine.import_guard import guarded_command
from privllm.engine.params_check import require_sound_params
from tests.workshop import ROOT


class Checker:
    """A repository with a check of its own, which counts how often it is asked."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.asked = root, 0
        self.says: dict[str, list[str]] = {"faults": [], "code": ["privllm/parameters/check.py", "privllm/gate.py"]}
        self.code = 0
        (root / "privllm/parameters").mkdir(parents=True)
        (root / "privllm/__init__.py").touch()
        for name in ("params.yaml", "dvc.yaml", "privllm/gate.py", "privllm/parameters/check.py"):
            (root / name).write_text("a: 1\n")
        monkeypatch.setattr(subprocess, "run", self.run)

    def run(self, command: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        assert (command, cwd) == (guarded_command("privllm.parameters.check"), self.root)
        self.asked += 1
        return subprocess.CompletedProcess(
            command, self.code, "a library's greeting\n" + json.dumps(self.says) + "\n", "Traceback\nImportError: no x"
        )


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checker:
    return Checker(tmp_path, monkeypatch)


def test_what_was_found_sound_is_not_asked_again(checker: Checker) -> None:
    require_sound_params(checker.root)
    require_sound_params(checker.root)
    assert checker.asked == 1
    (checker.root / "privllm/other.py").write_text("")  # it reads no parameter
    require_sound_params(checker.root)
    assert checker.asked == 1


@pytest.mark.parametrize(
    "path", ["params.yaml", "dvc.yaml", "privllm/gate.py", "privllm/parameters/check.py", str(PARAMS_CHECK_FILE)]
)
def test_an_edit_is_looked_at(checker: Checker, path: str) -> None:
    require_sound_params(checker.root)
    (checker.root / path).write_text("b: 2\n# longer\n")
    require_sound_params(checker.root)
    assert checker.asked == 2
    require_sound_params(checker.root)
    assert checker.asked == 2


def test_code_that_is_gone_is_looked_at(checker: Checker) -> None:
    require_sound_params(checker.root)
    (checker.root / "privllm/gate.py").unlink()
    checker.says["code"] = ["privllm/parameters/check.py"]
    require_sound_params(checker.root)
    assert checker.asked == 2


def test_who_only_asks_writes_nothing(checker: Checker) -> None:
    before = sorted(checker.root.rglob("*"))
    require_sound_params(checker.root, remember=False)
    assert sorted(checker.root.rglob("*")) == before


def test_faults_are_refused_every_time_and_all_of_them(checker: Checker) -> None:
    checker.says["faults"] = ["one is wrong."]
    for _ in range(2):
        with pytest.raises(UserError, match=r"^one is wrong\.$"):
            require_sound_params(checker.root)
    checker.says["faults"] = ["one is wrong.", "two is wrong."]
    with pytest.raises(UserError, match=r"2 faults:\n  one is wrong\.\n  two is wrong\.$"):
        require_sound_params(checker.root)
    assert checker.asked == 3


def test_code_that_cannot_run_is_said(checker: Checker) -> None:
    checker.code = 1
    with pytest.raises(UserError, match=r"could not be checked.*ImportError: no x"):
        require_sound_params(checker.root)


@pytest.mark.parametrize("path", ["params.yaml", "dvc.yaml", "privllm/parameters/check.py"])
def test_less_than_a_build_is_left_alone(checker: Checker, path: str) -> None:
    (checker.root / path).unlink()
    require_sound_params(checker.root)
    assert checker.asked == 0


@pytest.mark.slow
def test_the_real_check(tmp_path: Path) -> None:
    """In a copy of what it needs: what it says is what `parameters.sections` finds, and it is remembered."""
    import shutil

    for folder in ("privllm", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    require_sound_params(tmp_path)
    assert "privllm/evaluate/rules.py" in json.loads((tmp_path / PARAMS_CHECK_FILE).read_text())["code"]
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("\ngate:\n", "\ngate:\n  evidens: interval\n"), "utf-8")
    with pytest.raises(UserError, match=r"`gate\.evidens` \(params\.yaml, line \d+\)"):
        require_sound_params(tmp_path)


def test_no_stage_has_the_check_in_its_key() -> None:
    """An edit of the gate's code must not collect again."""
    modules = closure(ROOT, "stages.collect")[0]
    assert "privllm.engine.params_check" in modules
    assert not [name for name in modules if name.split(".")[1:2] in (["evaluate"], ["parameters"], ["train"])]
    assert params_check.CHECKER not in modules
