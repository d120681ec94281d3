"""Tiny wheels and a source archive, made here, in a folder that pip or a stand-in for it takes them from."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

BACKEND = """
import pathlib, zipfile
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.writestr(zipfile.ZipInfo("{name}.py"), "VALUE = 'built'\\n")
        info = "{name}-{version}.dist-info/"
        wheel.writestr(zipfile.ZipInfo(info + "METADATA"), "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        wheel.writestr(zipfile.ZipInfo(info + "WHEEL"), "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n")
        wheel.writestr(zipfile.ZipInfo(info + "RECORD"), "")
    return name
"""


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    needs: Sequence[str] = (),
    body: str = "",
    script: str = "",
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel of one module; `script` is a command that calls the module's `main`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": body,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n"
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with ZipFile(path, "w") as wheel:
        for name_in_wheel, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name_in_wheel, text)
    return path


def make_source(folder: Path, name: str, version: str, tag: str = "py3-none-any") -> Path:
    """Write a source archive that builds without a network, by a backend of its own, a wheel with `tag`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND.format(name=name, version=version, tag=tag),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def lock_line(path: Path, pin: str, marker: str = "") -> str:
    """Return the line of a lock, as uv writes it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{pin}{marker and f' ; {marker}'} \\\n    --hash=sha256:{digest}\n"


class Index:
    """A stand-in for pip's download: copies from a folder, and remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[list[str]] = []

    def download(self, requirements: Sequence[str], folder: Path, machine: str, options: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.asked.append([line.split()[0] for line in requirements])
        for line in requirements:
            name, _, version = line.split()[0].partition("==")
            pattern = f"{name.replace('-', '_')}-{version or '*'}[-.]*"
            newest = max(self.folder.glob(pattern))
            shutil.copyfile(newest, folder / newest.name)
