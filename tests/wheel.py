"""`python -m tests.wheel`: docs/start/own-project.md as a reader follows it, in an empty environment, on thirty documents.

Each command of the page is run, and printed with its seconds. privllm comes from two wheels: the older is of the first commit that has
that page. In a clone without history, and where params.yaml was another in that commit, it is this tree with an older stage.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.workshop import ROOT, fill_sources

SMALL = {  # what makes the project's model small
    "split: {validation: 0.05, test: 0.05}": "split: {validation: 0.15, test: 0.15}",
    "families: [causal, masked, seq2seq]": "families: [causal]",
    "vocabulary: 4096": "vocabulary: 600",
    "context: 256": "context: 64",
    "epochs: 2.2": "epochs: 0.02",
    "layers: 4, width: 192, heads: 4": "layers: 2, width: 32, heads: 2",
}
ANSWER_SECONDS = 120
PAGE = ROOT / "docs/start/own-project.md"
COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)
IDENTITY = {f"GIT_{role}_{key}": "reader@localhost" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}


class Shell:
    """Commands in a folder, with an environment of their own first on PATH."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder = folder
        names = ("HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy")
        kept = {name: value for name, value in os.environ.items() if name in names or name.startswith("PIP_")}
        self.variables: Mapping[str, str] = (
            kept | IDENTITY | {"PATH": f"{environment}/bin{os.pathsep}/usr/bin{os.pathsep}/bin"}
        )

    def run(self, *command: str) -> str:
        """Run a command, print it with its seconds, and return what it printed; leaves the process where it fails."""
        start = time.perf_counter()
        done = subprocess.run(command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False)
        print(f"{time.perf_counter() - start:7.1f} s  $ {' '.join(command)}", flush=True)
        if done.returncode:
            print(
                f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}", flush=True
            )  # before the folder is removed, which takes a while
            sys.exit(1)
        return done.stdout


def copy_tree(target: Path, revision: str) -> None:
    """Copy what git has of a revision, or with "" the files as they are now."""
    target.mkdir()
    if revision:
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)
        return
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def older_revision() -> str:
    """Return the first commit that has the page, "" in a clone without history, and where params.yaml was another then."""
    command = ["git", "log", "--format=%H", "--diff-filter=A", "--", "docs/start/own-project.md"]
    commits = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    is_shallow = (ROOT / ".git/shallow").is_file()
    if is_shallow or not commits:
        return ""
    show = ["git", "show", f"{commits[-1]}:params.yaml"]
    params = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return commits[-1] if all(text in params for text in SMALL) else ""


def make_older(tree: Path) -> None:
    """Give a tree the version 0.0.9, a stage with another text, and another rule of quality."""
    edits = {
        "pyproject.toml": ('version = "0.1.0"', 'version = "0.0.9"'),
        "stages/collect.py": ('"""collect:', '"""collect, as it once was:'),
        "privllm/clean/quality.py": ("min_words: int = 20", "min_words: int = 21"),
    }
    for path, (old_text, new_text) in edits.items():
        text = (tree / path).read_text("utf-8")
        assert old_text in text, f"{old_text!r} is not in {path}"
        (tree / path).write_text(text.replace(old_text, new_text), "utf-8")


def build_wheel(tree: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(target), str(tree)], check=True)
    return next(target.glob("*.whl"))


def ask(shell: Shell) -> str:
    """Start `privllm serve`, ask one question, and return the answer."""
    command = ["privllm", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=shell.folder, env=shell.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = ""
            for line in server.stdout:
                if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                    address = match[0]
                    break
            body = json.dumps({"model": "privllm", "prompt": "The committee", "max_tokens": 8}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{address}/v1/completions", body, headers)
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
                return str(json.load(response)["choices"][0]["text"])
        finally:
            server.terminate()


def megabytes(folder: Path) -> int:
    files = {
        (path.stat().st_dev, path.stat().st_ino): path.stat().st_size for path in folder.rglob("*") if path.is_file()
    }
    return round(sum(files.values()) / 1e6)


class Reader:
    """Somebody who follows the page, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "handbook"
        self.environment = folder / ".venv"
        self.shell = Shell(folder, self.environment)
        revision = older_revision()
        copy_tree(folder / "older", revision)
        copy_tree(folder / "newer", "")
        make_older(folder / "older")
        self.older = build_wheel(folder / "older", folder / "wheels-older")
        self.newer = build_wheel(folder / "newer", folder / "wheels-newer")
        print(f"older wheel: {revision[:9] or 'this tree, edited'}")
        self.special = {
            "python3 -m venv .venv && source .venv/bin/activate": self.make_environment,
            "pip install 'privllm[annotate,baselines,documents,serve]'": lambda: self.install(
                self.older, folder / "older"
            ),
            "privllm init handbook && cd handbook": self.start_project,
            "cp -r ~/documents/* data/sources/": self.fill,
            "privllm serve": self.serve,
            "pip install --upgrade 'privllm[annotate,baselines,documents,serve]'": lambda: self.install(
                self.newer, folder / "newer"
            ),
            "privllm upgrade": self.upgrade,
        }

    def follow(self, command: str) -> None:
        """Run one command of the page."""
        if command in self.special:
            self.special[command]()
            return
        said = self.shell.run("bash", "-euc", command)
        if command == "dvc repro":
            assert "Running stage 'fingerprint'" in said
            assert "up to date" in self.shell.run("dvc", "repro")

    def make_environment(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(self.environment)], check=True)

    def install(self, wheel: Path, tree: Path) -> None:
        """Install a wheel with what its lock names, in place of an index that has both."""
        lock = tree / "requirements.lock"
        self.shell.run("pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(lock))
        self.shell.run("pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel))

    def start_project(self) -> None:
        self.shell.run("privllm", "init", "handbook")
        self.shell.folder = self.project

    def fill(self) -> None:
        fill_sources(self.project / "data/sources")
        params = (self.project / "params.yaml").read_text("utf-8")
        for old_text, new_text in SMALL.items():
            assert old_text in params, old_text
            params = params.replace(old_text, new_text)
        (self.project / "params.yaml").write_text(params, "utf-8")

    def serve(self) -> None:
        assert ask(self.shell)
        print("           `privllm serve` answered")

    def upgrade(self) -> None:
        said = self.shell.run("privllm", "upgrade", "--yes")
        assert "From privllm 0.0.9 to 0.1.0:" in said, said
        assert "stages/collect.py" in said, said
        assert re.search(r"would then run \d+ of \d+ stages, over about \d+ documents", said), said
        print(textwrap.indent(said, "           "))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="privllm-wheel-") as scratch:
        reader = Reader(Path(scratch))
        for command in COMMAND.findall(PAGE.read_text("utf-8")):
            reader.follow(command)
        print(
            f"{megabytes(reader.environment):,} MB of environment, {megabytes(reader.project):,} MB of project and cache"
        )


if __name__ == "__main__":
    main()
