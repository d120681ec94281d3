"""A test that proves a promise is skipped aloud where it cannot run, and CI takes no skip for a proof."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workshop import ROOT

pytestmark = pytest.mark.slow

PROOF = "tests/test_pipeline.py::test_the_build_ran_without_any_network"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *words]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=300)


def test_where_namespaces_are_forbidden_the_network_proof_is_skipped_aloud(tmp_path: Path) -> None:
    """Or where there is no such tool, as on macOS: nothing is on this PATH."""
    skipped = run(PROOF, PATH=str(tmp_path))
    assert skipped.returncode == 0, skipped.stdout
    assert "needs a network namespace (`unshare -rn`), which this machine does not allow" in skipped.stdout


def test_and_ci_fails(tmp_path: Path) -> None:
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    failed = run(PROOF, PATH=str(tmp_path), CI="true")
    assert failed.returncode == 1, failed.stdout
    assert "CI must run this test, and it was skipped. Skipped: needs a network namespace" in failed.stdout


def test_other_tests_may_be_skipped_on_ci(tmp_path: Path) -> None:
    file = tmp_path / "test_other.py"
    file.write_text("import pytest\n\n\n@pytest.mark.skip(reason='not today')\ndef test_nothing():\n    pass\n")
    done = run("-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), str(file), CI="true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not today" in done.stdout


def test_ci_says_that_it_is_ci() -> None:
    assert "export CI=true" in (ROOT / ".ci/run").read_text("utf-8")
