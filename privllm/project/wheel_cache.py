"""A folder of downloaded wheels for one machine, and what is still missing from it.

A download that is stopped at any moment goes on where it was: a file appears whole or not at all, and one that is damaged is
fetched again. What the lock pins is checked by the lock's hashes. torch and what it needs beside the lock (its CUDA packages) have none
there; their hashes are taken as they come, and the bundle records them.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from packaging.requirements import Requirement
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from privllm.core.errors import UserError
from privllm.engine.fingerprint import canonical
from privllm.project.locked_pins import Pin
from privllm.project.pip_runs import build, download
from privllm.project.platforms import Target

GROUP = 8  # pins that one run of pip fetches: what a stopped download loses at most
Say = Callable[[str], None]


class Wheel(NamedTuple):
    """One wheel of a bundle."""

    name: str  # as PEP 503 spells it
    version: str
    path: Path
    sha256: str


class WheelCache:
    """The wheels of one machine in `folder`."""

    def __init__(self, folder: Path, target: Target, say: Say) -> None:
        self.folder, self.target, self.say = folder, target, say
        self.partial = folder / "partial"  # what the run of pip in progress has written

    def locked(self, pins: Sequence[Pin]) -> list[Wheel]:
        """Return the wheels of pins that have hashes, after fetching what is missing."""
        files = self._files_of(pins)
        missing = [pin for pin in pins if str(pin) not in files]
        for start in range(0, len(missing), GROUP):
            group = missing[start : start + GROUP]
            names = ", ".join(map(str, group))
            self.say(f"fetching {start + 1} to {start + len(group)} of {len(missing)}: {names}")
            lines = [pin.line() for pin in group]
            self._download(["--require-hashes", *self.target.pip_options()], lines, self.folder / "locked")
        files = self._files_of(pins)
        return [self._as_wheel(pin, files[str(pin)]) for pin in pins]

    def unlocked(self, first: str, locked_names: set[str]) -> list[Wheel]:
        """Return the wheel of `first` ("torch==2.13.0+cpu"), and of all that it needs and the lock does not name.

        Raises UserError where two of them need different versions of a third.
        """
        wheels: dict[str, Wheel] = {}
        waiting, seen = [Requirement(first)], set()
        while waiting:
            waiting.sort(key=_is_loose)  # an exact pin decides which version those without one get
            requirement = waiting.pop(0)
            name = canonical(requirement.name)
            if name in locked_names or str(requirement) in seen:
                continue
            seen.add(str(requirement))
            if name not in wheels:
                wheels[name] = self._one(requirement)
            wheel = wheels[name]
            if not requirement.specifier.contains(wheel.version, prereleases=True):
                raise UserError(
                    f"{first} needs {requirement}, and {wheel.path.name} was selected: its packages disagree."
                )
            waiting += self._needs(wheel.path, requirement.extras)
        return list(wheels.values())

    def _download(self, options: Sequence[str], lines: Sequence[str], into: Path) -> None:
        """Download into `partial`, and move each file when it is whole."""
        shutil.rmtree(self.partial, ignore_errors=True)
        download(lines, self.partial, str(self.target), options)
        into.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.partial.iterdir()):
            path.replace(into / path.name)
        self.partial.rmdir()

    def _files_of(self, pins: Sequence[Pin]) -> dict[str, Path]:
        """Return {name==version: file} of the pins that are there with a hash of the lock; another file is removed."""
        wanted = {str(pin): pin for pin in pins}
        files = {}
        for path in _files(self.folder / "locked"):
            pin = wanted.get(_pin_of(path))
            if pin is None:  # of an earlier lock
                continue
            if sha256_of(path) in pin.sha256:
                files[str(pin)] = path
            else:
                path.unlink()
        return files

    def _as_wheel(self, pin: Pin, path: Path) -> Wheel:
        """Return a pin's wheel, built here where the index has its source alone."""
        if path.suffix != ".whl":
            path = self._built(pin, path)
        return Wheel(pin.name, pin.version, path, sha256_of(path))

    def _built(self, pin: Pin, source: Path) -> Path:
        """Return the wheel of a source archive. Raises UserError where it can only be built on the other machine."""
        folder = self.folder / "built" / f"{pin.name}-{pin.version}"
        wheels = list(folder.glob("*.whl"))
        if not wheels:
            self.say(f"building {pin}, which has no wheel")
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            build(source, self.partial)
            folder.parent.mkdir(parents=True, exist_ok=True)
            self.partial.replace(folder)
            wheels = list(folder.glob("*.whl"))
        runs_anywhere = wheels[0].name.endswith("-none-any.whl")
        if not self.target.is_here() and not runs_anywhere:
            raise UserError(
                f"{pin} has no wheel for {self.target}, and its source can only be built there: run `privllm bundle` on such a machine."
            )
        return wheels[0]

    def _one(self, requirement: Requirement) -> Wheel:
        """Return the wheel of a requirement that no lock pins."""
        plain = f"{requirement.name}{requirement.specifier}"
        folder = self.folder / "unlocked" / re.sub(r"[^\w.+-]+", "_", plain)
        if not list(folder.glob("*.whl")):
            self.say(f"fetching {plain}")
            options = ["--only-binary", ":all:", *self.target.pip_options()]
            self._download(options, [plain], folder)
        path = next(folder.glob("*.whl"))
        name, version = _pin_of(path).split("==")
        return Wheel(name, version, path, sha256_of(path))

    def _needs(self, wheel: Path, extras: set[str]) -> Iterator[Requirement]:
        """Yield what a wheel needs on the machine, with these extras."""
        environment = dict(self.target.markers())
        for line in _metadata(wheel):
            requirement = Requirement(line)
            marker, requirement.marker = requirement.marker, None
            if marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in ("", *extras)):
                yield requirement


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_loose(requirement: Requirement) -> bool:
    return not any(part.operator in ("==", "===") for part in requirement.specifier)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _pin_of(path: Path) -> str:
    """Return `name==version` of a wheel's or a source archive's name, "" for another file."""
    try:
        name, version = (
            parse_wheel_filename(path.name)[:2] if path.suffix == ".whl" else parse_sdist_filename(path.name)
        )
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""
    return f"{name}=={version}"


def _metadata(wheel: Path) -> list[str]:
    """Return the requirements that a wheel states. Raises UserError where it is damaged."""
    try:
        with ZipFile(wheel) as archive:
            path = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            text = archive.read(path).decode()
    except (BadZipFile, StopIteration) as error:
        raise UserError(f"{wheel} is damaged: remove it, and run `privllm bundle` again.") from error
    return Parser().parsestr(text, headersonly=True).get_all("Requires-Dist", [])
