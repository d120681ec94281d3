"""Nothing is read that the build does not track."""

from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.tracked_folder import TrackedFolder


@pytest.fixture
def folder(tmp_path: Path) -> TrackedFolder:
    (tmp_path / "base/own/part").mkdir(parents=True)
    (tmp_path / "base/own/part/model").write_text("1")
    (tmp_path / "base/own/meta.json").write_text('{"lang": "en"}')
    return TrackedFolder("annotate.models", tmp_path / "base/own", tmp_path / "base")


def test_files_are_named_below_the_folder(folder: TrackedFolder) -> None:
    assert [name for name, _ in folder.files()] == ["meta.json", "part/model"]
    assert folder.json("meta.json") == {"lang": "en"}
    assert folder.json("none.json") == {}
    assert folder.path("part") is None


def test_a_link_within_is_read_and_one_that_leads_out_is_refused(folder: TrackedFolder, tmp_path: Path) -> None:
    (folder.folder / "again").symlink_to(folder.folder / "meta.json")
    assert len(folder.files()) == 3
    (tmp_path / "outside").write_text("")
    (folder.folder / "part/notes").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=r"`annotate\.models` in params\.yaml: .*part/notes is a link to .*outside"):
        folder.files()


def test_a_folder_that_is_not_there_is_named_with_those_that_are(folder: TrackedFolder, tmp_path: Path) -> None:
    folder.require_folder()
    with pytest.raises(UserError, match=r"base/none is not there \(below .*base: own\)"):
        TrackedFolder("annotate.models", tmp_path / "base/none", tmp_path / "base").require_folder()


def test_json_that_is_none(folder: TrackedFolder) -> None:
    (folder.folder / "meta.json").write_text("[]")
    with pytest.raises(UserError, match="should hold a JSON object"):
        folder.json("meta.json")
