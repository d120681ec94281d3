"""What each check of the machine says where there is little, and where there is enough."""

import os
from pathlib import Path

import pytest

from privllm.manage.doctor import machine
from privllm.manage.doctor.finding import GIB, State
from privllm.manage.doctor.machine import (
    cores_finding,
    disk_finding,
    existing_parent,
    links_finding,
    memory_finding,
    memory_of_machine,
    working_links,
)


def test_cores_that_may_not_be_used_are_counted() -> None:
    assert cores_finding(8, 8).value == "8"
    assert cores_finding(2, 64).value.startswith("2 of the machine's 64 may be used")


def test_little_memory() -> None:
    finding = memory_finding(1 * GIB, 16 * GIB)
    assert (finding.state, finding.value) == (State.warning, "1.0 GB free of 16.0 GB")
    assert "batch_size" in finding.command
    assert memory_finding(8 * GIB, 16 * GIB).state is State.ok


MEMINFO = "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:   8388608 kB\nHugePages_Total:\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (8, 16)),
        ({"memory.max": "max\n", "memory.current": "0"}, (8, 16)),
        ({"memory.max": str(4 * GIB), "memory.current": str(3 * GIB)}, (1, 4)),
        ({"memory/memory.limit_in_bytes": str(4 * GIB), "memory/memory.usage_in_bytes": str(GIB)}, (3, 4)),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "0"}, (8, 16)),
    ],
    ids=["machine", "no limit", "cgroup 2", "cgroup 1", "cgroup 1 without a limit"],
)
def test_memory_is_the_container_s(files: dict[str, str], expected: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    available, total = memory_of_machine(tmp_path / "meminfo", tmp_path)
    assert (available // GIB, total // GIB) == expected


def test_a_system_without_proc_says_how_much_there_is(tmp_path: Path) -> None:
    available, total = memory_of_machine(tmp_path / "none", tmp_path)
    assert available == total == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [(4, 20, "warning"), (6, 20, "ok"), (40, 1000, "warning"), (60, 1000, "ok"), (200, 4000, "ok")],
)
def test_space_on_a_disk(free: int, total: int, state: str) -> None:
    finding = disk_finding("disk", Path("/data"), free * GIB, total * GIB)
    assert finding.state == state
    assert finding.value.endswith("at /data")
    assert bool(finding.command) == (state == "warning")


@pytest.mark.parametrize(
    ("configured", "working", "state", "words"),
    [
        (("reflink", "copy"), {"reflink", "hardlink", "copy"}, "ok", "reflinks: outputs take their space once"),
        (("reflink", "copy"), {"hardlink", "copy"}, "ok", "copies (this file system has no reflinks)"),
        (("hardlink", "copy"), {"hardlink", "copy"}, "ok", "hard links: outputs take their space once"),
        (("hardlink", "copy"), {"copy"}, "warning", "do not work from /cache"),
        (("copy",), {"reflink", "copy"}, "ok", "copies (as cache.type says)"),
    ],
)
def test_links(configured: tuple[str, ...], working: set[str], state: str, words: str) -> None:
    finding = links_finding(configured, working, Path("/cache"))
    assert finding.state == state
    assert words in finding.value


def test_links_are_tried_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hardlink" in working_links(tmp_path / "cache/not/yet", tmp_path)

    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(machine, "reflink", refuse)
    assert working_links(tmp_path, tmp_path) == {"copy"}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(machine.tempfile, "NamedTemporaryFile", refuse)
    assert working_links(tmp_path, tmp_path) == {"copy"}


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert existing_parent(tmp_path / "a/b") == tmp_path
    assert existing_parent(tmp_path) == tmp_path
