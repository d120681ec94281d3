"""Whatever is wrong with an extension is said before anything runs, as with a parameter."""

import shutil
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.extensions import KINDS
from privllm.engine.params_check import require_sound_params
from privllm.parameters.check import faults_of
from privllm.parameters.extension_faults import CHECKS, extension_faults
from tests.extend import TYPED, Extended, make_extended
from tests.workshop import ROOT

IMPORT = "from privllm.validate.own_expectations import Expectation\n"
CODE = "deps: [privllm, stages, requirements.lock]"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    project = make_extended(tmp_path / "project", monkeypatch)
    shutil.copyfile(ROOT / "params.yaml", project.root / "params.yaml")
    pipeline = (ROOT / "dvc.yaml").read_text("utf-8")
    assert CODE in pipeline
    project.write("dvc.yaml", pipeline.replace(CODE, CODE.replace("privllm", "extensions")), listed=False)
    return project


def test_every_kind_is_checked() -> None:
    assert CHECKS.keys() == KINDS.keys()


def test_what_the_guide_types_is_sound(project: Extended) -> None:
    for path, text in TYPED.items():
        project.write(path, text)
    assert faults_of(Path()) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("READERS = {'minutes': 1}\n", "extensions/house.py, line 1: `minutes` must be an object with `read`."),
        ("QUALITY_RULES = {'too_short': len}\n", "is a reason of privllm's own"),
        ("PERSONAL_DATA = {'EMAIL': len}\n", "is a kind of privllm's own"),
        ("EXPECTATIONS = {'a': len}\n", "must be Expectation("),
        (f"{IMPORT}EXPECTATIONS = {{'No two documents share an id': Expectation(len, 1)}}\n", "of privllm's own"),
        ("TASK_SCORES = {'a': len}\n", "must be TaskScore("),
        ("READERS = 3\n", "must be assigned once"),
    ],
)
def test_a_fault_of_each_kind_is_found(project: Extended, code: str, fault: str) -> None:
    project.write("extensions/house.py", code)
    (found,) = faults_of(Path())
    assert fault in found


def test_the_faults_of_all_extensions_are_found(project: Extended) -> None:
    project.write("extensions/a.py", "READERS = {'minutes': 1}\n")
    project.write("extensions/b.py", "QUALITY_RULES = {'a': 1}\nPERSONAL_DATA = {'A1': 1}\n")
    assert len(faults_of(Path())) == 3


def test_an_edit_that_dvc_would_not_notice_is_refused(project: Extended) -> None:
    project.write("extensions/house.py", "READERS = {}\n")
    pipeline = project.root / "dvc.yaml"
    for line, fault in (
        ("deps: [extensions, stages, requirements.lock]", "lies below no dependency of the stage `fingerprint`"),
        ("params: [families, finetune.tasks, extensions, collect]", "does not depend on the parameter `extensions`"),
    ):
        text = pipeline.read_text()
        assert line in text
        pipeline.write_text(text.replace(line, line.replace("extensions, ", "").replace(", extensions", "")))
        (found,) = extension_faults(Path())
        assert fault in found
        assert "add `extensions` to " in found
        pipeline.write_text(text)
    text = pipeline.read_text()
    pipeline.write_text(text.replace("deps: [extensions,", "deps: [extensions/house.py,"))
    assert list(extension_faults(Path())) == []


@pytest.mark.slow
def test_an_edit_of_an_extension_is_checked_again(project: Extended) -> None:
    project.write("stages/__init__.py", (ROOT / "stages/__init__.py").read_text("utf-8"), listed=False)
    project.write("extensions/house.py", "READERS = {}\n")
    require_sound_params()
    project.write("extensions/house.py", "READERS = {'minutes': 1}\n")
    with pytest.raises(UserError, match="`minutes` must be an object with `read`"):
        require_sound_params()
