"""Paths below `.privllm` have one home."""

from pathlib import Path

from privllm.core import work_paths
from privllm.core.work_paths import WORK_FOLDER
from tests.workshop import ROOT


def test_every_work_path_lies_in_the_work_folder() -> None:
    paths = [path for name, path in vars(work_paths).items() if name.isupper()]
    assert all(path.is_relative_to(WORK_FOLDER) for path in paths)
    assert len(set(paths)) == len(paths)


def test_no_other_module_writes_such_a_path_out() -> None:
    sources = [*(ROOT / "privllm").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    home = Path(work_paths.__file__)
    for source in sources:
        text = source.read_text("utf-8")
        assert source == home or not any(f"{quote}.privllm" in text for quote in "\"'"), source
