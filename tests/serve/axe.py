"""axe-core, from npm: rules of WCAG 2.2 that a program can check. Nightly, for it is downloaded."""

import os
import shutil
import subprocess
from typing import Any

import pytest

PACKAGE = "axe-core@4.14.1"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def axe_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its program; elsewhere than in the nightly lane the test is skipped before a page is opened."""
    if os.environ.get("PRIVLLM_NIGHTLY") != "1":
        pytest.skip("axe-core is asked in the nightly lane alone: PRIVLLM_NIGHTLY=1")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, and axe-core comes by it")
    folder = tmp_path_factory.mktemp("axe")
    (folder / "package.json").write_text('{"private": true}')
    command = ["npm", "install", PACKAGE, "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return (folder / "node_modules/axe-core/axe.min.js").read_text("utf-8")


def violations(page: Any, program: str) -> list[str]:
    """Return what is wrong with the page as it stands, a line each."""
    page.evaluate(program)
    found = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}}).then(result => result.violations)", TAGS
    )
    return [f"{rule['id']}: {node['html'][:160]} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
