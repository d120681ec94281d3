"""The packaged pipeline is the one that was looked at, or it is not opened."""

import shutil
import sys
from pathlib import Path

import pytest

from privllm.annotate.spans import load
from privllm.core.errors import UserError
from privllm.nlp import packaged_model
from privllm.nlp.packaged_model import NAME, packaged_folder, require_recorded_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged pipeline."""
    installed = packaged_folder()
    assert installed
    return Path(shutil.copytree(installed, tmp_path / "copy"))


def test_what_is_installed_is_what_was_recorded(folder: Path) -> None:
    require_recorded_files(folder)


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["ner/model", "config.cfg", "vocab/strings.json"])
def test_a_changed_file_is_named_and_nothing_is_loaded(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder / name)
    monkeypatch.setattr(packaged_model, "packaged_folder", lambda: folder)
    monkeypatch.setattr("spacy.load", lambda *_, **__: pytest.fail("it was opened"))
    load.cache_clear()
    with pytest.raises(UserError, match=f"{folder / name} is not the file .*pip install"):
        load(NAME)


def test_a_missing_and_an_added_file_are_named(folder: Path) -> None:
    (folder / "ner/model").rename(folder / "ner/other")
    with pytest.raises(UserError, match="ner/model is missing"):
        require_recorded_files(folder)
    (folder / "ner/other").rename(folder / "ner/model")
    (folder / "code.py").write_text("")
    with pytest.raises(UserError, match=r"code\.py does not belong there"):
        require_recorded_files(folder)


def test_the_package_is_not_imported() -> None:
    load(NAME)
    assert NAME not in sys.modules
