"""`privllm bundle`: one archive that installs privllm where there is no network.

It holds the wheel of everything that requirements.lock pins for one machine, torch, privllm itself and the documentation, with an install
script and the SHA-256 of each file. It holds no documents and no models: `dvc push` to a folder moves those.
The same lock, machine and wheels give the same bytes.
"""

import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from privllm.core.errors import UserError
from privllm.core.work_paths import BUNDLE_FOLDER
from privllm.engine.digests import replacing
from privllm.project.contents import FOLDER
from privllm.project.locked_pins import WITHOUT_HASH, pins_for, read_pins
from privllm.project.package_wheel import documentation, own_wheel
from privllm.project.pip_runs import require_pip
from privllm.project.platforms import Target
from privllm.project.wheel_cache import Say, Wheel, WheelCache, sha256_of

LOCK = Path("requirements.lock")
CPU, AS_INSTALLED = "cpu", "as-installed"
SCRIPT, README = "install.sh", "README.md"
SUMS, REQUIREMENTS = "SHA256SUMS", "requirements.txt"
EXECUTABLE = {SCRIPT}
Content = Path | bytes


class Bundle(NamedTuple):
    """An archive that was written."""

    path: Path
    folder: str  # in it
    wheels: int
    bytes: int
    sha256: str
    unlocked: list[str]  # wheels whose hashes are in no lock

    def lines(self) -> Iterator[str]:
        """Yield what people carry along, for a terminal."""
        yield f"{self.path}: {self.wheels} wheels, {self.bytes / 1e6:,.0f} MB"
        yield f"sha256 {self.sha256}"
        yield f"The lock has no hash of {', '.join(self.unlocked)}: the bundle records what pip downloaded."
        yield f"There: tar -xf {self.path.name}, then sh {self.folder}/{SCRIPT} FOLDER. Compare the sha256 first."


def make_bundle(out: Path | None, target: Target, torch: str, wheel: Path | None, say: Say) -> Bundle:
    """Fetch what is missing, and write the archive.

    Raises UserError where a wheel does not exist for `target`, has another hash than the lock's, or the disk is full.
    """
    require_pip()
    pins = pins_for(read_pins(LOCK), target)
    locked_torch = next((pin.version for pin in pins if pin.name == WITHOUT_HASH), "")
    wanted_torch = torch_requirement(torch, locked_torch, target)
    folder = BUNDLE_FOLDER / str(target)
    own = own_wheel(wheel, BUNDLE_FOLDER)
    name = f"privllm-{own.version}-{target}"
    path = out or Path(f"{name}.tar")
    _require_tar(path)
    cache = WheelCache(folder, target, say)
    hashed = [pin for pin in pins if pin.name != WITHOUT_HASH]
    unlocked = cache.unlocked(wanted_torch, {pin.name for pin in hashed})
    wheels = [own, *cache.locked(hashed), *unlocked]
    contents = bundle_contents(sorted(wheels), target, documentation())
    _require_room(path, contents)
    say(f"writing {path}")
    _write_tar(path, name, contents)
    digest = sha256_of(path)
    with replacing(path.with_name(f"{path.name}.sha256")) as partial:
        partial.write_text(f"{digest}  {path.name}\n", "utf-8")
    return Bundle(
        path, name, len(wheels), path.stat().st_size, digest, [f"{wheel.name} {wheel.version}" for wheel in unlocked]
    )


def torch_requirement(choice: str, locked: str, target: Target) -> str:
    """Return the requirement of torch: the lock's version, as a build for the CPU or as it is installed here.

    Raises UserError where another version is installed, or none.
    """
    if not locked:
        raise UserError(f"{LOCK} pins no torch: `git checkout {LOCK}` brings it back.")
    if choice == CPU:
        build = "+cpu" if target.system == "linux" else ""  # macOS has one build alone
        return f"torch=={locked}{build}"
    if choice != AS_INSTALLED:
        raise UserError(f"--torch {choice} is neither {CPU} nor {AS_INSTALLED}.")
    try:
        installed = version("torch")
    except PackageNotFoundError:
        raise UserError(f"torch is not installed here: install it, or say `--torch {CPU}`.") from None
    if installed.partition("+")[0] != locked:
        raise UserError(
            f"torch {installed} is installed, and {LOCK} pins {locked}: install that, or say `--torch {CPU}`."
        )
    return f"torch=={installed if target.system == 'linux' else locked}"


def bundle_contents(wheels: Sequence[Wheel], target: Target, pages: Mapping[str, Path]) -> dict[str, Content]:
    """Return {path in the archive's folder: file or bytes}, SHA256SUMS included."""
    own = next(wheel for wheel in wheels if wheel.name == "privllm")
    requirements = "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels)
    values = {
        "version": own.version,
        "target": str(target),
        "python": target.python,
        "system": target.system,
        "machine": target.machine,
    }
    contents: dict[str, Content] = {f"wheels/{wheel.path.name}": wheel.path for wheel in wheels}
    contents |= {f"docs/{name}": path for name, path in pages.items()}
    contents[REQUIREMENTS] = requirements.encode()
    for name, source in ((SCRIPT, "bundle-install.sh"), (README, "bundle-readme.md")):
        contents[name] = _filled((FOLDER / "files" / source).read_text("utf-8"), values).encode()
    known = {f"wheels/{wheel.path.name}": wheel.sha256 for wheel in wheels}
    lines = [f"{known.get(name) or _digest(contents[name])}  {name}\n" for name in sorted(contents)]
    return contents | {SUMS: "".join(lines).encode()}


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)


def _digest(content: Content) -> str:
    if isinstance(content, Path):
        return sha256_of(content)
    return hashlib.sha256(content).hexdigest()


def _require_tar(path: Path) -> None:
    if path.suffix != ".tar" or path.is_dir():
        raise UserError(f"--out {path} is no name of a tar file: end it with .tar.")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}.")


def _require_room(path: Path, contents: Mapping[str, Content]) -> None:
    """Raise UserError where the archive does not fit on its disk."""
    needed = sum(content.stat().st_size if isinstance(content, Path) else len(content) for content in contents.values())
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise UserError(
            f"{path} takes {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free there: make room, or name another disk by --out. "
            "What was downloaded is kept."
        )


def _write_tar(path: Path, folder: str, contents: Mapping[str, Content]) -> None:
    """Write the files in order of their names, with one time and no owner."""
    with replacing(path) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(contents):
            content = contents[name]
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.mode = 0o755 if name in EXECUTABLE else 0o644
            if isinstance(content, Path):
                entry.size = content.stat().st_size
                with content.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
