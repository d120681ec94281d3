"""What `pip install privllm` takes on the disk: the core with torch, and what each extra adds to it.

    python -m benchmarks.install_size [EXTRA ...]

The core goes into a fresh environment, torch first, as `make setup` installs it: with pip's default index that is the build
with CUDA on Linux, so point pip at the CPU build to measure that. What an extra adds is what pip would install next, put
into a folder of its own. The folders are removed at the end. Sizes are of the files that the distributions record, with the
bytecode that pip compiles and without it; a megabyte has 10^6 bytes.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result

TORCH = "torch==2.13.0"  # as in the Makefile
OF_THE_ENVIRONMENT = {"pip", "setuptools"}  # a fresh environment has them
LARGEST = 12


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def sizes(packages: Path) -> dict[str, tuple[float, float]]:
    """{distribution: megabytes with its bytecode, and without} of what is installed below a folder."""
    found = {}
    for distribution in importlib.metadata.distributions(path=[str(packages)]):
        name = distribution.metadata["Name"]
        files = [Path(str(file.locate())) for file in distribution.files or []]
        in_bytes = {path: path.stat().st_size for path in files if path.is_file()}
        bytecode = sum(size for path, size in in_bytes.items() if path.suffix == ".pyc")
        if name not in OF_THE_ENVIRONMENT:
            found[name] = (sum(in_bytes.values()) / 1e6, (sum(in_bytes.values()) - bytecode) / 1e6)
    return found


def figures_of(packages: Path) -> dict[str, Any]:
    found = sizes(packages)
    largest = sorted(found, key=lambda name: -found[name][0])[:LARGEST]
    return {
        "megabytes": round(sum(size for size, _ in found.values())),
        "without_bytecode": round(sum(size for _, size in found.values())),
        "distributions": len(found),
        "largest": {name: round(found[name][0], 1) for name in largest},
    }


def added_by(python: Path, requirement: str) -> list[str]:
    """The pins that pip would install for a requirement in an environment."""
    report = run(python, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", requirement)
    metadata = [entry["metadata"] for entry in json.loads(report)["install"]]
    return [f"{entry['name']}=={entry['version']}" for entry in metadata if entry["name"] != "privllm"]


def measure(extras: list[str], folder: Path) -> dict[str, Any]:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    (wheel,) = folder.glob("privllm-*.whl")
    run(sys.executable, "-m", "venv", folder / "core")
    python = folder / "core/bin/python"
    run(python, "-m", "pip", "install", "--quiet", TORCH)
    run(python, "-m", "pip", "install", "--quiet", wheel)
    (packages,) = (folder / "core/lib").glob("python*/site-packages")
    result = {"core": figures_of(packages)}
    show("core", result["core"])
    for extra in extras:
        added = added_by(python, f"{wheel}[{extra}]")
        target = folder / extra
        target.mkdir()
        if added:
            run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, *added)
        result[extra] = figures_of(target)
        show(f"+ {extra}", result[extra])
    return result


def show(name: str, figures: dict[str, Any]) -> None:
    main = ", ".join(f"{distribution} {size:.0f}" for distribution, size in figures["largest"].items())
    print(
        f"{name:12} {figures['megabytes']:5} MB, {figures['without_bytecode']} without bytecode, "
        f"{figures['distributions']} distributions ({main})",
        flush=True,
    )


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = sys.argv[1:] or sorted(project["optional-dependencies"])
    with tempfile.TemporaryDirectory() as folder:
        write_result("install_size", measure(extras, Path(folder)))


if __name__ == "__main__":
    main()
