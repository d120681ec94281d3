"""A library that is not installed is a sentence that says what to do; a module that we misspelt keeps its traceback."""

import os
import subprocess
import sys

import pytest

from privllm.core.missing_library import EXTRAS, missing_library
from privllm.engine.stage import call
from tests.workshop import ROOT, environment


def without_libraries(module: str) -> subprocess.CompletedProcess[str]:
    """`-S` leaves site-packages out, as an interpreter outside .venv does."""
    return subprocess.run(
        [sys.executable, "-S", "-m", module], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "module", [*(f"stages.{path.stem}" for path in sorted((ROOT / "stages").glob("[a-z]*.py"))), "privllm.cli.app"]
)
def test_without_the_environment_every_entry_says_how_to_get_it(module: str) -> None:
    done = without_libraries(module)
    assert done.returncode == 1
    assert "is not installed for" in done.stderr
    assert "`make setup`), and `source .venv/bin/activate`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def importing(statement: str):
    def action() -> None:
        exec(statement)

    return action


def test_a_library_that_is_needed_later_is_explained_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRIVLLM_DEBUG", raising=False)
    assert call(importing("import no_such_library.part"), "privllm serve") == 1
    assert "privllm serve: the library `no_such_library` is not installed for" in capsys.readouterr().err
    monkeypatch.setenv("PRIVLLM_DEBUG", "1")
    with pytest.raises(ModuleNotFoundError):
        call(importing("import no_such_library"), "privllm serve")


@pytest.mark.parametrize(("library", "extra"), EXTRAS.items())
def test_a_library_of_an_extra_is_named_with_the_command(library: str, extra: str) -> None:
    said = missing_library(ModuleNotFoundError(f"No module named {library!r}", name=library))
    assert said
    assert f"`{library}` is not installed for {sys.executable}" in said
    assert f"`pip install 'privllm[{extra}]'`" in said
    assert (f"`make {extra}`" if extra in ("ray", "grammar") else "`make setup`") in said


@pytest.mark.parametrize(
    "statement",
    ["import privllm.core.no_such", "import yaml.no_such", "import json.no_such", "from json import no_such"],
)
def test_a_misspelt_module_is_our_mistake(statement: str) -> None:
    with pytest.raises(ImportError) as raised:
        exec(statement)
    assert missing_library(raised.value) is None
    with pytest.raises(ImportError):
        call(importing(statement), "clean")


def test_other_errors_are_no_missing_library() -> None:
    assert missing_library(ValueError("numpy")) is None
    assert missing_library(OSError(os.strerror(2))) is None
