"""`python -m tests.container_run ENVIRONMENT`: what the Dockerfile promises of a read-only root, kept without Docker.

Needs root on Linux. In a mount namespace of its own everything is read-only but a project and tmpfs at /tmp and /dev/shm, and there is no
network but 127.0.0.1. A user without rights, with the Dockerfile's variables, starts the Dockerfile's entry point, builds, and asks a
server by the Dockerfile's health check. ENVIRONMENT, below /tmp, is where privllm is installed, such as the folder that a bundle's
install.sh made; that user must be able to read it and its Python.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.wheel import SMALL
from tests.workshop import ROOT, fill_sources

NAMESPACE = """
set -eu
ip link set lo up
mount -t tmpfs tmpfs /mnt
mkdir /mnt/environment /mnt/project /mnt/tmp
mount --bind "$ENVIRONMENT" /mnt/environment
mount --bind "$PROJECT" /mnt/project
mount -t tmpfs -o mode=1777 tmpfs /mnt/tmp
mkdir -p "/mnt/tmp/${ENVIRONMENT#/tmp/}" /mnt/tmp/project
mount --bind /mnt/environment "/mnt/tmp/${ENVIRONMENT#/tmp/}"
mount -o remount,bind,ro "/mnt/tmp/${ENVIRONMENT#/tmp/}"
mount --rbind /mnt/tmp /tmp
mount --bind /mnt/project /tmp/project
mount -t tmpfs -o mode=1777,size=64m tmpfs /dev/shm # as Docker has it
for point in / /mnt /var /run /home; do
    if mountpoint -q "$point"; then mount -o remount,bind,ro "$point"; fi
done
cd /tmp/project
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all sh -eu -c "$COMMANDS"
"""
REFUSED = (
    'for path in /x /var/tmp/x "$ENVIRONMENT/x" "$HOME/../../x"; do if touch "$path" 2>/dev/null; then exit 9; fi; done'
)


def variables(text: str) -> dict[str, str]:
    """Return the variables that the last stage of the Dockerfile sets, but PATH."""
    last_stage = text.rpartition("\nFROM ")[2].replace("\\\n", " ")
    line = re.search(r"^ENV (.+)$", last_stage, re.MULTILINE)
    assert line is not None
    return {name: value for name, value in re.findall(r"(\w+)=(\S+)", line[1]) if name != "PATH"}


def health_check(text: str) -> list[str]:
    found = re.search(r"HEALTHCHECK .*\\\n\s+CMD (\[.+\])", text)
    assert found is not None
    return list(json.loads(found[1]))


def run(environment: Path, project: Path, commands: str) -> None:
    """Run commands of a shell in the namespace, print their seconds, and leave the process where they fail."""
    given = variables((ROOT / "Dockerfile").read_text("utf-8"))
    given |= {"ENVIRONMENT": str(environment), "PROJECT": str(project), "COMMANDS": f"{REFUSED}\n{commands}"}
    given["PATH"] = f"{environment}/bin{os.pathsep}/usr/sbin{os.pathsep}/usr/bin{os.pathsep}/sbin{os.pathsep}/bin"
    start = time.perf_counter()
    done = subprocess.run(
        # the end of its first process ends all, the server too
        [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--propagation",
            "private",
            "sh",
            "-c",
            NAMESPACE,
        ],
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{time.perf_counter() - start:7.1f} s  $ {commands}", flush=True)
    if done.returncode:
        sys.exit(f"exit code {done.returncode}\n{done.stdout[-9000:]}\n{done.stderr[-9000:]}")


def main(environment: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="privllm-container-", dir="/var/tmp"))
    try:
        project = scratch / "project"
        subprocess.run(
            [environment / "bin/privllm", "init", "--no-git", project], check=True, stdout=subprocess.DEVNULL
        )
        fill_sources(project / "data/sources")
        params = (project / "params.yaml").read_text("utf-8")
        shares = {f"{part}: 0.05": f"{part}: 0.15" for part in ("validation", "test")}  # of thirty documents
        for old_text, new_text in (SMALL | shares).items():
            assert old_text in params, old_text
            params = params.replace(old_text, new_text)
        (project / "params.yaml").write_text(params, "utf-8")
        subprocess.run(["git", "init", "--quiet", project], check=True)
        for path in (project, *project.rglob("*")):
            os.chown(path, 10001, 10001)
        check = " ".join(
            f"'{word}'" if " " not in word else f'"{word}"' for word in health_check((ROOT / "Dockerfile").read_text())
        )
        run(environment, project, "privllm --help")
        run(environment, project, "dvc add --quiet data/sources && privllm plan")
        run(environment, project, "dvc repro && dvc status | grep 'up to date'")
        wait = f"for i in $(seq 60); do if {check} 2>/dev/null; then exit 0; fi; sleep 1; done; cat /tmp/said; exit 1"
        run(environment, project, f"privllm serve >/tmp/said 2>&1 & {wait}")
        owners = {(path.stat().st_uid) for path in project.rglob("*")}
        print(f"every file of the project belongs to {owners}")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
