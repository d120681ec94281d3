"""privllm's own wheel and documentation, for a bundle.

A clone of the repository builds the wheel from its files. Where privllm was installed from a wheel, pip has noted where that lay. No
index is asked: another package there could have the same name.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from privllm.core.errors import UserError
from privllm.core.installed_version import DISTRIBUTION as NAME
from privllm.engine.digests import replacing
from privllm.project.contents import DOCUMENTATION, FOLDER, copied_files, documentation_files
from privllm.project.pip_runs import build
from privllm.project.wheel_cache import Wheel, sha256_of

CLONE = FOLDER.parents[1]
BUILD_FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def own_wheel(given: Path | None, folder: Path) -> Wheel:
    """Return privllm's wheel: the one given, the one built from this clone into `folder`, or the one it was installed from.

    Raises UserError where there is none, or `given` is another package's.
    """
    path = given or (_built(folder) if is_clone() else _installed_from())
    try:
        name, version = parse_wheel_filename(path.name)[:2]
    except InvalidWheelFilename:
        raise UserError(f"--wheel {path} has no wheel's name, such as privllm-0.1.0-py3-none-any.whl.") from None
    if name != NAME:
        raise UserError(f"--wheel {path} is a wheel of {name}, not of {NAME}.")
    if not path.is_file():
        raise UserError(f"--wheel {path} does not exist.")
    return Wheel(NAME, str(version), path, sha256_of(path))


def documentation() -> Mapping[str, Path]:
    """Return {path below docs/: file}: the pages of `make docs` where a clone has them, else their Markdown."""
    if not is_clone():
        return _below(DOCUMENTATION)
    site = CLONE / "site"
    if site.is_dir():
        return _below(site)
    return {path.as_posix(): CLONE / path for path in documentation_files(CLONE)}


def is_clone() -> bool:
    """Return whether this package lies in a clone of the repository."""
    return all((CLONE / name).is_file() for name in BUILD_FILES)


def _below(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _built(folder: Path) -> Path:
    """Build the wheel from a copy of the clone, so that nothing is written into it."""
    with tempfile.TemporaryDirectory(prefix="privllm-") as scratch:
        tree, built = Path(scratch, "tree"), Path(scratch, "built")
        shutil.copytree(CLONE / NAME, tree / NAME, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (*map(Path, BUILD_FILES), *copied_files(CLONE), *documentation_files(CLONE)):
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CLONE / path, tree / path)
        wheel = build(tree, built, ["--no-build-isolation", "--no-index"])
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / wheel.name) as partial:
            shutil.copyfile(wheel, partial)
    return folder / wheel.name


def _installed_from() -> Path:
    """Return the wheel that pip installed privllm from. Raises UserError where it is gone, or pip has not noted it."""
    try:
        noted = distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        noted = None
    address = urlparse(json.loads(noted)["url"]) if noted else None
    path = Path(url2pathname(address.path)) if address and address.scheme == "file" else None
    if path is None or path.suffix != ".whl" or not path.is_file():
        place = f"{path}, which is gone" if path else "an index or a folder of wheels"
        raise UserError(f"privllm was installed from {place}: name its wheel, `privllm bundle --wheel FILE.whl`.")
    return path
