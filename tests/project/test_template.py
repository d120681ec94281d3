"""A new project is this repository's dvc.yaml and stages, without what belongs to the repository alone."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from privllm.engine.fingerprint import locked_versions
from privllm.project import template
from privllm.project.template import EXTRAS, PYTHON, package_name, project_files
from tests.workshop import ROOT

FILES = project_files("Acme handbook")


def test_stages_and_dvc_yaml_are_the_repositorys_but_for_the_deps_of_fingerprint() -> None:
    for path in (ROOT / "stages").glob("*.py"):
        assert FILES[f"stages/{path.name}"] == path.read_bytes()
    ours, theirs = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8")), yaml.safe_load(FILES["dvc.yaml"])
    assert ours["stages"]["fingerprint"].pop("deps") == ["privllm", "stages", "requirements.lock"]
    assert theirs["stages"]["fingerprint"].pop("deps") == [
        *("stages", "extensions", "requirements.lock", "privllm-template.json")
    ]
    assert ours == theirs
    assert "privllm/" not in FILES["dvc.yaml"].decode()  # no stage depends on a file inside the package


def test_the_packages_code_has_one_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By which DVC notices an upgrade that changes no file of the project."""
    (tmp_path / "project/template").mkdir(parents=True)
    for name in ("a.py", "page.html.j2", "project/template/stage.py", "notes.txt"):
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(template, "FOLDER", tmp_path / "project")
    monkeypatch.setattr(template, "PACKAGED", tmp_path / "project/template")
    before = template.package_code()
    for name in ("project/template/stage.py", "notes.txt"):  # the first is in the files of the template
        (tmp_path / name).write_text("2")
    assert template.package_code() == before
    digests = {before}
    for name in ("a.py", "page.html.j2"):
        (tmp_path / name).write_text("2")
        digests.add(template.package_code())
    assert len(digests) == 3


def test_parameters_are_the_repositorys_without_tasks() -> None:
    ours, theirs = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8")), yaml.safe_load(FILES["params.yaml"])
    assert len(FILES["params.yaml"].decode().splitlines()) <= 60
    assert theirs == ours | {"tasks": {"derive": {}}, "finetune": {"defaults": {}, "tasks": {}}}


def test_pins_of_uv_and_pip_are_the_same() -> None:
    pins = locked_versions(ROOT / "requirements.lock")
    settings = tomllib.loads(FILES["pyproject.toml"].decode())["tool"]["uv"]
    constraints = [Requirement(line) for line in settings["constraint-dependencies"]]
    assert {requirement.name: str(requirement.specifier) for requirement in constraints} == {
        name: f"=={version}" for name, version in pins.items()
    }


def test_uv_reads_constraints_where_they_stand() -> None:
    """In a uv.toml it passes over them."""
    assert "uv.toml" not in FILES


def test_the_package_is_pinned_with_the_extras_that_there_are() -> None:
    project = tomllib.loads(FILES["pyproject.toml"].decode())["project"]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    package = Requirement(project["dependencies"][0])
    assert (package.name, str(package.specifier), package.extras) == ("privllm", f"=={ours['version']}", set(EXTRAS))
    assert package.extras <= set(ours["optional-dependencies"])
    assert project["requires-python"] == PYTHON == ours["requires-python"]
    assert project["name"] == "acme-handbook"


@pytest.mark.parametrize("path", [".github/workflows/build.yml", ".gitlab-ci.yml"])
def test_continuous_integration_builds_and_compares(path: str) -> None:
    text = FILES[path].decode()
    yaml.safe_load(text)
    assert "dvc repro" in text
    assert "privllm compare HEAD workspace --fail-if" in text
    assert "{torch}" not in text


def test_a_job_of_slurm_builds_here_and_saves_before_its_time_is_over(tmp_path: Path) -> None:
    script = tmp_path / "slurm.sbatch"
    script.write_bytes(FILES["slurm.sbatch"])
    for command in (".venv/bin/activate", "bin/dvc"):
        (tmp_path / command).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / ".venv/bin/activate").write_text(f'PATH="{tmp_path}/bin:$PATH"\n')
    (tmp_path / "bin/dvc").write_text('#!/bin/sh\necho "$PWD $OMP_NUM_THREADS $SRUN_CPUS_PER_TASK $*"\n')
    (tmp_path / "bin/dvc").chmod(0o755)
    environment = os.environ | {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_CPUS_PER_TASK": "8"}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == f"{tmp_path} 8 8 repro\n"
    options = re.findall(r"^#SBATCH (.+)$", script.read_text(), re.MULTILINE)
    assert "--job-name=acme-handbook" in options
    assert "--signal=TERM@120" in options
    assert "--requeue" in options


def test_the_readme_is_short() -> None:
    assert len(FILES["README.md"].decode().splitlines()) <= 21
    assert FILES["README.md"].decode().startswith("# Acme handbook\n")


@pytest.mark.parametrize(
    ("name", "expected_name"), [("Acme_Handbook 2", "acme-handbook-2"), ("日本", "project"), ("..", "project")]
)
def test_any_folder_has_a_name_that_python_takes(name: str, expected_name: str) -> None:
    assert package_name(name) == expected_name
