"""Machines that wheels are fetched for: this one, or another that pip knows only by its tags.

A lock is the same for all of them; what differs are the markers that hold and the wheels that fit.
"""

import platform
import sys
from collections.abc import Mapping
from typing import NamedTuple

from packaging.markers import default_environment

from privllm.core.errors import UserError

PYTHONS = ("3.11", "3.12", "3.13")
NEWEST_GLIBC, OLDEST_GLIBC = 28, 17  # of 2.x: Debian 10 and RHEL 8 have 2.28
OLDEST_MACOS = "14.0"  # torch has no wheels for an older one
SYSTEMS = {"linux": "Linux", "macos": "Darwin"}  # our name, and platform.system()'s
OTHERS = ("linux-x86_64", "linux-aarch64", "macos-arm64")


class Target(NamedTuple):
    """A machine and its Python."""

    system: str  # "linux" or "macos"
    machine: str  # as platform.machine() says it there
    python: str  # "3.11"

    def __str__(self) -> str:
        return f"{self.system}-{self.machine}-python{self.python}"

    def is_here(self) -> bool:
        """Return whether this process runs on such a machine, with such a Python."""
        return self == this_target()

    def markers(self) -> Mapping[str, str]:
        """Return the environment in which markers of requirements are evaluated (PEP 508)."""
        if self.is_here():
            return {key: str(value) for key, value in default_environment().items()}
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": SYSTEMS[self.system],
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "darwin" if self.system == "macos" else "linux",
        }

    def pip_options(self) -> list[str]:
        """Return what tells pip to select wheels for this machine; nothing where it is this one."""
        if self.is_here():
            return []
        options = ["--implementation", "cp", "--python-version", self.python]
        for tag in self._tags():
            options += ["--platform", tag]
        return options

    def _tags(self) -> list[str]:
        """Return the platform tags of wheels that run there, the newest first."""
        if self.system == "macos":
            return [f"macosx_{OLDEST_MACOS.replace('.', '_')}_{self.machine}"]
        glibcs = range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in glibcs]
        older = [f"manylinux2014_{self.machine}"]  # pip adds those before it
        return [*tags, *older, f"linux_{self.machine}"]


def this_target() -> Target:
    """Return this machine and the Python that runs this."""
    names = {theirs: ours for ours, theirs in SYSTEMS.items()}
    system = names.get(platform.system(), platform.system().lower())
    return Target(system, platform.machine(), f"{sys.version_info[0]}.{sys.version_info[1]}")


def target_of(platform_name: str = "", python: str = "") -> Target:
    """Return the machine of `linux-aarch64` and Python of `3.12`; what is empty is this one's.

    Raises UserError where it is none that privllm runs on.
    """
    here = this_target()
    name = platform_name or f"{here.system}-{here.machine}"
    if name not in (*OTHERS, f"{here.system}-{here.machine}"):
        raise UserError(f"--platform {name} is none that wheels are fetched for: it is one of {', '.join(OTHERS)}.")
    if (python or here.python) not in PYTHONS:
        raise UserError(f"--python-version {python} is none that privllm runs on: it is one of {', '.join(PYTHONS)}.")
    system, machine = name.split("-", 1)
    return Target(system, machine, python or here.python)
