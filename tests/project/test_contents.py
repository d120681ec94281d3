"""Every pattern of the template names files, and a missing one is said when the wheel is built."""

import shutil
from pathlib import Path

import pytest

from privllm.project.contents import PATTERNS, copied_files
from tests.workshop import ROOT


def test_the_copied_files_are_this_repositorys() -> None:
    names = [path.as_posix() for path in copied_files(ROOT)]
    assert {"dvc.yaml", "stages/__init__.py", "stages/collect.py", "data/promoted/model/.gitignore"} <= set(names)
    assert len([name for name in names if name.startswith("stages/")]) == len(list((ROOT / "stages").glob("*.py")))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_missing_is_named(pattern: str, tmp_path: Path) -> None:
    for path in copied_files(ROOT):
        if not path.match(pattern):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, tmp_path / path)
    with pytest.raises(FileNotFoundError, match="there is no"):
        list(copied_files(tmp_path))
