"""`python -m tests.uv_sync WHEELS`: whether `uv sync` in a new project installs the versions of requirements.lock.

Needs `uv` on PATH and a network. WHEELS is a folder with privllm's wheel, such as `wheels` of an unpacked bundle; with torch's build for
CPUs in it too, no CUDA packages are fetched. What the lock has beside (for development, for other systems) is counted, not installed.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from privllm.engine.fingerprint import canonical, locked_versions
from privllm.project.init import create_project


def main(wheels: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="privllm-uv-") as scratch:
        project = Path(scratch, "handbook")
        create_project(project, use_git=False)
        command = ["uv", "sync", "--quiet", "--python", sys.executable, "--find-links", str(wheels.resolve())]
        subprocess.run(command, cwd=project, check=True)
        listed = subprocess.run(
            ["uv", "pip", "list", "--format", "json"], cwd=project, capture_output=True, text=True, check=True
        ).stdout
        locked = locked_versions(project / "requirements.lock")
    installed = {canonical(entry["name"]): entry["version"].partition("+")[0] for entry in json.loads(listed)}
    del installed["privllm"]
    others = {name: version for name, version in installed.items() if locked.get(name) != version}
    if others:
        sys.exit(f"not as requirements.lock pins them: {others}")
    print(
        f"{len(installed)} of {len(locked)} pins installed, each in the version of requirements.lock, and nothing else"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
