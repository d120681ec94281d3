"""Tracked inputs: DVC's file, git's note of it (test_promote.py), and what a command says when it fails."""

import sys
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.manage.tracked_input import run


def test_what_a_failed_command_says_is_handed_on(tmp_path: Path) -> None:
    assert run(tmp_path, sys.executable, "-c", "print(1)") == "1\n"
    with pytest.raises(UserError, match="failed: no such thing"):
        run(tmp_path, sys.executable, "-c", "import sys; sys.exit('no such\\n thing')")
