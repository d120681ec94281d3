"""A Python that privllm does not work with is refused in one sentence: by `make setup`, by every stage and by the command line."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.workshop import ROOT

REFUSAL = ROOT / "privllm/__init__.py"
REQUIRED = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"])
MINORS = [(2, 7), *((3, minor) for minor in range(5, 16)), (4, 0)]
UNSUPPORTED = [(2, 7, 18), (3, 6, 15), (3, 10, 13), (3, 14, 0)]


@pytest.mark.parametrize("minor", MINORS)
def test_what_is_refused_is_what_pyproject_leaves_out(monkeypatch: pytest.MonkeyPatch, minor: tuple[int, int]) -> None:
    monkeypatch.setattr(sys, "version_info", (*minor, 4))
    if REQUIRED.contains(f"{minor[0]}.{minor[1]}.4"):
        runpy.run_path(str(REFUSAL))
    else:
        with pytest.raises(SystemExit, match=rf"is Python {minor[0]}\.{minor[1]}\.4"):
            runpy.run_path(str(REFUSAL))


def supported() -> list[str]:
    return [f"{major}.{minor}" for major, minor in MINORS if REQUIRED.contains(f"{major}.{minor}.4")]


def test_every_place_that_names_pythons_names_these() -> None:
    first, *between, last = supported()
    listed = f"{', '.join([first, *between])} or {last}"
    assert listed in REFUSAL.read_text("utf-8")
    assert listed in (ROOT / "Makefile").read_text("utf-8")
    assert f"Python {first} to {last}" in (ROOT / "README.md").read_text("utf-8")
    assert f"tests.pythons {' '.join([*between, last])}\n" in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("path", ["privllm/__init__.py", "stages/__init__.py"])
def test_any_python_can_read_what_refuses_it(path: str) -> None:
    """What an old one cannot parse ends in a SyntaxError before a word of it is run. Python 2 wants ASCII, too."""
    source = (ROOT / path).read_text("ascii")
    tree = ast.parse(source, feature_version=(3, 7))
    modern = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.FunctionDef | ast.NamedExpr)
    ]
    assert modern == []


def in_python(version: tuple[int, int, int], module: str) -> subprocess.CompletedProcess[str]:
    statement = f"import runpy, sys; sys.version_info = {version}; runpy.run_module({module!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("module", ["stages.collect", "stages.fingerprint", "privllm.cli.app"])
@pytest.mark.parametrize("version", UNSUPPORTED)
def test_stages_and_commands_are_refused_before_anything_else(version: tuple[int, int, int], module: str) -> None:
    done = in_python(version, module)
    assert done.returncode == 1
    assert re.fullmatch(
        r"\nerror: privllm needs Python 3\.11, 3\.12 or 3\.13, and .*`make setup PYTHON=.*\n+", done.stderr
    )


def setup(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """`make setup` with that interpreter, where the Makefile and the refusal lie alone."""
    (folder / "privllm").mkdir()
    for path in ("Makefile", "privllm/__init__.py", "requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        (folder / path).write_bytes((ROOT / path).read_bytes())
    return subprocess.run(["make", "setup", f"PYTHON={python}"], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("version", UNSUPPORTED)
def test_make_setup_refuses_it_and_installs_nothing(tmp_path: Path, version: tuple[int, int, int]) -> None:
    old = tmp_path / "old-python"
    statement = f"import runpy, sys; sys.version_info = {version}; runpy.run_path(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{statement}" "$@"\n')
    old.chmod(0o755)
    done = setup(tmp_path, str(old))
    assert done.returncode == 2
    assert f"is Python {'.'.join(map(str, version))}. Run `make setup" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_setup_without_that_python_says_which_ones_will_do(tmp_path: Path) -> None:
    done = setup(tmp_path, "no-such-python")
    assert done.returncode == 2
    assert "there is no no-such-python: install Python 3.11, 3.12 or 3.13" in done.stderr
