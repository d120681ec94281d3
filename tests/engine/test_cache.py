"""DVC's cache as DVC's own configuration says, and links into it that fall back to copies."""

import json
import os
from pathlib import Path

import pytest

from privllm.engine import cache as cache_module
from privllm.engine.cache import Cache, find_cache, place


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC repository, and a home where nothing is configured."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "repo/.dvc").mkdir(parents=True)
    return tmp_path / "repo"


def configure(path: Path, **values: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "[core]\n    analytics = false\n[cache]\n"
        + "".join(f"    {name} = {value}\n" for name, value in values.items())
    )


def test_where_dvc_keeps_it_unless_something_is_said(root: Path) -> None:
    assert find_cache(root) == Cache(root / ".dvc/cache", ("reflink", "copy"))
    assert find_cache(root.parent) is None


def test_the_nearest_configuration_wins(root: Path) -> None:
    configure(root.parent / "home/dvc/config", dir="/home/cache", type="hardlink")
    assert find_cache(root) == Cache(Path("/home/cache"), ("hardlink",))
    configure(root / ".dvc/config", dir="/repo/cache")
    assert find_cache(root) == Cache(Path("/repo/cache"), ("hardlink",))
    configure(root / ".dvc/config.local", dir="/local/cache", type="copy")
    assert find_cache(root) == Cache(Path("/local/cache"), ("copy",))


def test_a_home_is_asked_where_no_other_place_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(root.parent / "person"))
    configure(root.parent / "person/.config/dvc/config", type="copy")
    assert find_cache(root) == Cache(root / ".dvc/cache", ("copy",))


@pytest.mark.parametrize("written", ["../../shared", '"../../shared"', "'../../shared'"])
def test_a_relative_folder_is_seen_from_the_file_that_names_it(root: Path, written: str) -> None:
    configure(root / ".dvc/config", dir=written)
    cache = find_cache(root)
    assert cache is not None
    assert cache.folder == root.parent / "shared"


@pytest.mark.parametrize(
    ("written", "links"),
    [
        ("hardlink,copy", ("hardlink", "copy")),
        ('"reflink, hardlink"', ("reflink", "hardlink")),
        ("symlink,hardlink", ("hardlink",)),
        ("symlink", ("copy",)),  # a stage that writes through one would change the object
        ("nonsense", ("copy",)),
    ],
)
def test_kinds_of_links(root: Path, written: str, links: tuple[str, ...]) -> None:
    configure(root / ".dvc/config", type=written)
    assert find_cache(root) == Cache(root / ".dvc/cache", links)


def test_a_configuration_that_cannot_be_read_says_nothing(root: Path) -> None:
    (root / ".dvc/config").write_text("[cache\ntype")
    assert find_cache(root) == Cache(root / ".dvc/cache", ("reflink", "copy"))


@pytest.mark.parametrize("kind", ["hardlink", "reflink"])
@pytest.mark.parametrize("works", [True, False])
def test_a_link_that_does_not_work_becomes_a_copy(
    tmp_path: Path, kind: str, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_text("in the way")
    tried: list[tuple[Path, Path]] = []

    def link(source: Path, target: Path) -> None:
        tried.append((source, target))
        if not works:
            raise OSError("not on this file system")
        target.write_text("linked")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(cache_module, "reflink", link)
    place(tmp_path / "a", tmp_path / "b", (kind, "copy"))
    assert tried == [(tmp_path / "a", tmp_path / "b")]
    assert (tmp_path / "b").read_text() == ("linked" if works else "text")


def test_what_is_to_be_copied_is_not_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("text")
    monkeypatch.setattr(os, "link", lambda source, target: pytest.fail("it was linked"))
    place(tmp_path / "a", tmp_path / "b", ("copy", "hardlink"))
    assert (tmp_path / "b").read_text() == "text"


def test_a_reflink_that_does_not_work_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("text")

    def refuse(*given: object) -> None:
        raise OSError("not on this file system")

    monkeypatch.setattr(cache_module.fcntl, "ioctl", refuse)
    with pytest.raises(OSError, match=r"reflinks|file system"):
        cache_module.reflink(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_file_whose_object_is_there_becomes_a_link_to_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", ("hardlink", "copy"))
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_text("text")
    name = cache.put(tmp_path / "a")
    assert cache.put(tmp_path / "b") == name
    assert {(tmp_path / other).stat().st_ino for other in "ab"} == {cache.path(name).stat().st_ino}


def test_a_folder_is_listed_if_its_object_is_one(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.listing("ab12.dir") is None
    cache.path("ab12.dir").parent.mkdir(parents=True)
    for spoilt in ("[", "{}x", '[{"relpath": "a"}]', "[1]", "3"):
        cache.path("ab12.dir").write_text(spoilt)
        assert cache.listing("ab12.dir") is None
    cache.path("ab12.dir").write_text(json.dumps([{"md5": "1", "relpath": "a"}, {"md5": "2", "relpath": "b/c"}]))
    assert cache.listing("ab12.dir") == {"a": "1", "b/c": "2"}


def test_nothing_is_lent_that_is_not_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(FileNotFoundError):
        cache.lend("0" * 32, tmp_path / "a")
    assert not (tmp_path / "a").is_symlink()
