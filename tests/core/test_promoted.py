"""promoted: the folder that the build depends on is in git, and what is in it is DVC's."""

import subprocess
from pathlib import Path

from privllm.core.base_model import INCUMBENT
from privllm.core.promoted import MODEL, PROMOTED
from privllm.engine.pipeline import declared_stages

ROOT = Path(__file__).resolve().parents[2]


def test_the_folder_is_there_in_a_new_repository() -> None:
    listed = subprocess.run(
        ["git", "ls-files", str(PROMOTED)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert str(MODEL / ".gitignore") in listed
    assert not any(str(MODEL / INCUMBENT) in path for path in listed)


def test_stages_depend_on_it() -> None:
    deps = {dep for stage in declared_stages(ROOT).values() for dep in stage["deps"]}
    assert str(MODEL) in deps
