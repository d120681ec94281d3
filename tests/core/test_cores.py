"""Work is spread over the cores there are, also where the system does not say which of them are ours."""

import os
import re
from pathlib import Path

import pytest

from privllm.core.cores import available_cores
from tests.workshop import ROOT


def test_only_the_cores_that_this_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 4}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert available_cores() == 3


@pytest.mark.parametrize(("machine", "cores"), [(8, 8), (None, 1)])
def test_where_the_system_does_not_say_all_of_them_count(
    monkeypatch: pytest.MonkeyPatch, machine: int | None, cores: int
) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    assert available_cores() == cores


# What Python has on Linux alone. macOS has fcntl, resource, fork and signals too.
LINUX_ONLY = re.compile(
    r"\bos\.(sched_\w+|pidfd_open|memfd_create|eventfd|splice|posix_fadvise|copy_file_range|sendfile|getrandom|setns|unshare|[gls]etxattr)\b"
    r"|\bsignal\.(sigtimedwait|sigwaitinfo|pidfd_send_signal)\b|\bselect\.epoll\b|/proc/|/sys/|/dev/shm|FICLONE"
)
GUARDED = {
    "core/cores.py": "asks whether it is there",
    "engine/cache.py": "asks for the platform",
    "engine/stage.py": "a file that is not there is passed over",
    "manage/doctor/machine.py": "likewise, and sysconf is asked",
}


def test_nothing_else_of_linux_alone_is_used() -> None:
    places = [*(ROOT / "privllm").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    users = {path for path in places if LINUX_ONLY.search(path.read_text("utf-8"))}
    assert users == {ROOT / "privllm" / Path(name) for name in GUARDED}
