"""`python -m tests.platforms`: whether every pin of requirements.lock has a wheel for each machine and Python that privllm names.

Needs `uv` on PATH and a network. Nothing is downloaded but metadata, and nothing installed: uv resolves for the other machine. Prints the
table of docs/guides/install.md. Pins that no machine has a wheel of are built from source, and named.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from privllm.project.locked_pins import Pin, pins_for, read_pins
from privllm.project.platforms import OLDEST_MACOS, OTHERS, PYTHONS, Target, target_of
from tests.workshop import ROOT

UV_NAMES = {"linux-x86_64": "x86_64-manylinux_2_28", "linux-aarch64": "aarch64-manylinux_2_28", "macos-arm64": "macos"}
NO_WHEEL = re.compile(r"Because ([a-z0-9-]+)==\S+ has no (?:usable )?wheels")


def resolve(lines: list[str], target: Target, *options: str) -> str:
    """Return what uv says that keeps `lines` from being installed there from wheels alone, "" for nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch, "requirements.txt")
        listed.write_text("\n".join(lines), "utf-8")
        command = ["uv", "pip", "install", "--dry-run", "--only-binary", ":all:", "--requirement", str(listed)]
        name = UV_NAMES[f"{target.system}-{target.machine}"]
        machine = ["--python-platform", name, "--python-version", target.python, "--target", str(Path(scratch, "x"))]
        environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
        done = subprocess.run(
            [*command, *machine, *options], env=environment, capture_output=True, text=True, check=False
        )
    return done.stderr if done.returncode else ""


def check(pins: list[Pin], target: Target) -> tuple[int, list[str]]:
    """Return how many pins there are wheels of, and the names of those that need a build; leaves the process on another error."""
    hashed = [pin for pin in pins_for(pins, target) if pin.sha256]
    sources: list[str] = []
    while said := resolve([pin.line() for pin in hashed], target, "--no-deps", "--require-hashes"):
        match = NO_WHEEL.search(said)
        if match is None:
            sys.exit(f"{target}: {said}")
        sources.append(match[1])
        hashed = [pin for pin in hashed if pin.name != match[1]]
    return len(hashed), sources


def main() -> None:
    pins = read_pins(ROOT / "requirements.lock")
    torch = next(str(pin) for pin in pins if pin.name == "torch")
    print("| machine | Python | pins with a wheel | built from source | torch |\n|---|---|---:|---|---|")
    for name in OTHERS:
        for python in PYTHONS:
            target = target_of(name, python)
            wheels, sources = check(pins, target)
            constraints = [str(pin) for pin in pins_for(pins, target) if pin.name not in sources]
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
                file.write("\n".join(constraints))
                file.flush()
                refused = resolve([torch], target, "--constraint", file.name)
            if refused:
                sys.exit(f"{target}: {torch}: {refused}")
            print(f"| {name} | {python} | {wheels} | {', '.join(sources)} | {torch} |", flush=True)


if __name__ == "__main__":
    main()
