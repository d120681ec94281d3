"""Wheels are fetched once, checked by the lock's hashes, and a download that was stopped goes on."""

from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.project import wheel_cache
from privllm.project.locked_pins import Pin, read_pins
from privllm.project.platforms import Target, this_target
from privllm.project.wheel_cache import GROUP, WheelCache, sha256_of
from tests.project.tiny_packages import Index, lock_line, make_source, make_wheel

ELSEWHERE = Target("macos", "arm64", "3.12" if this_target().python != "3.12" else "3.13")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index(tmp_path / "index")
    monkeypatch.setattr(wheel_cache, "download", index.download)
    return index


def pins_of(tmp_path: Path, paths: dict[str, Path]) -> list[Pin]:
    lock = tmp_path / "requirements.lock"
    lock.write_text("".join(lock_line(path, pin) for pin, path in paths.items()), "utf-8")
    return read_pins(lock)


def many(tmp_path: Path, index: Index) -> list[Pin]:
    names = [f"tiny-{letter}" for letter in "abcdefghij"]
    assert len(names) > GROUP
    return pins_of(
        tmp_path, {f"{name}==1.0": make_wheel(index.folder, name.replace("-", "_"), "1.0") for name in names}
    )


def test_what_is_there_is_not_fetched_again(tmp_path: Path, index: Index) -> None:
    pins, said = many(tmp_path, index), []
    first = WheelCache(tmp_path / "cache", this_target(), said.append).locked(pins)
    assert [len(group) for group in index.asked] == [GROUP, len(pins) - GROUP]
    assert "fetching 1 to 8 of 10: tiny-a==1.0" in said[0]
    assert WheelCache(tmp_path / "cache", this_target(), said.append).locked(pins) == first
    assert len(index.asked) == 2
    assert [wheel.sha256 for wheel in first] == [next(iter(pin.sha256)) for pin in pins]


def test_a_stopped_download_goes_on(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = many(tmp_path, index)

    def stopped(requirements: list[str], folder: Path, machine: str, options: list[str]) -> None:
        index.download(requirements, folder, machine, options)
        if len(index.asked) == 2:  # half a file is there
            next(folder.iterdir()).write_bytes(b"half")
            raise KeyboardInterrupt

    monkeypatch.setattr(wheel_cache, "download", stopped)
    with pytest.raises(KeyboardInterrupt):
        WheelCache(tmp_path / "cache", this_target(), print).locked(pins)
    assert len(WheelCache(tmp_path / "cache", this_target(), print).locked(pins)) == len(pins)
    assert index.asked[2] == index.asked[1]


def test_a_damaged_file_is_fetched_again(tmp_path: Path, index: Index) -> None:
    pins = many(tmp_path, index)
    wheels = WheelCache(tmp_path / "cache", this_target(), print).locked(pins)
    wheels[3].path.write_bytes(b"damaged")
    assert WheelCache(tmp_path / "cache", this_target(), print).locked(pins) == wheels
    assert index.asked[2:] == [["tiny-d==1.0"]]


@pytest.mark.slow
def test_a_source_is_built_once(tmp_path: Path, index: Index) -> None:
    pins = pins_of(tmp_path, {"tiny-b==2.0": make_source(index.folder, "tiny_b", "2.0")})
    said: list[str] = []
    (wheel,) = WheelCache(tmp_path / "cache", ELSEWHERE, said.append).locked(pins)
    assert wheel.path.name == "tiny_b-2.0-py3-none-any.whl"
    assert wheel.sha256 == sha256_of(wheel.path)
    WheelCache(tmp_path / "cache", ELSEWHERE, said.append).locked(pins)
    assert [line for line in said if line.startswith("building")] == ["building tiny-b==2.0, which has no wheel"]


@pytest.mark.slow
def test_what_can_only_be_built_elsewhere_is_named(tmp_path: Path, index: Index) -> None:
    source = make_source(index.folder, "tiny_b", "2.0", "cp311-cp311-linux_x86_64")
    pins = pins_of(tmp_path, {"tiny-b==2.0": source})
    with pytest.raises(UserError, match=r"tiny-b==2\.0 has no wheel for macos-arm64"):
        WheelCache(tmp_path / "cache", ELSEWHERE, print).locked(pins)


def torch_needs(index: Index, *needs: str) -> None:
    make_wheel(index.folder, "torch", "9.9", needs)


def test_torchs_own_packages_come_with_it_and_the_locks_do_not(tmp_path: Path, index: Index) -> None:
    torch_needs(
        index, "tiny-a", "cuda[blas]==13.0; platform_system == 'Darwin'", "loose", "win==1; sys_platform == 'win32'"
    )
    make_wheel(index.folder, "cuda", "13.0", ["blas==13.1; extra == 'blas'", "fft==13.1; extra == 'fft'", "loose==1"])
    make_wheel(index.folder, "blas", "13.1", ["cuda"])
    make_wheel(index.folder, "loose", "1")
    make_wheel(index.folder, "loose", "2")
    cache = WheelCache(tmp_path / "cache", ELSEWHERE, print)
    wheels = cache.unlocked("torch==9.9", {"tiny-a"})
    assert {f"{wheel.name}=={wheel.version}" for wheel in wheels} == {
        "torch==9.9",
        "cuda==13.0",
        "blas==13.1",
        "loose==1",
    }
    asked = len(index.asked)
    assert cache.unlocked("torch==9.9", {"tiny-a"}) == wheels
    assert len(index.asked) == asked


def test_packages_that_disagree_are_named(tmp_path: Path, index: Index) -> None:
    torch_needs(index, "loose==1", "other==1")
    make_wheel(index.folder, "other", "1", ["loose==2"])
    make_wheel(index.folder, "loose", "1")
    with pytest.raises(UserError, match=r"torch==9\.9 needs loose==2, and loose-1-py3-none-any\.whl was selected"):
        WheelCache(tmp_path / "cache", this_target(), print).unlocked("torch==9.9", set())


def test_a_damaged_torch_is_named(tmp_path: Path, index: Index) -> None:
    index.folder.mkdir()
    (index.folder / "torch-9.9-py3-none-any.whl").write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged: remove it"):
        WheelCache(tmp_path / "cache", this_target(), print).unlocked("torch==9.9", set())
