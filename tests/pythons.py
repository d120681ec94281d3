"""`python -m tests.pythons 3.12 3.13`: the tests that need no torch, Ray or MkDocs, each Python in an environment of its own.

torch alone would fetch gigabytes for every Python, so an environment holds the locks' libraries but what needs torch. Which tests that
leaves is read off the same collection that `make test` runs (`tests/lanes.py`), and all of them must run: one that is lost on the way,
or skipped where this Python does not skip it, fails the lane.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from privllm.engine.fingerprint import canonical, requirements_of

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-dev.lock")
OUTCOMES = "PRIVLLM_OUTCOMES"  # the file to which a run, as a plugin of pytest, writes what became of each test
PIN = re.compile(r"([A-Za-z0-9._-]+)==")


def pytest_runtest_logreport(report: object) -> None:
    """As a plugin: note the outcome of a test's setup, call and teardown."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # its reports reach the process that started it
    with Path(os.environ[OUTCOMES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([report.nodeid, report.when, report.outcome]) + "\n")


def needs_torch(distribution: str) -> bool:
    """Whether torch is, or is needed by, an installed distribution."""
    seen: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += requirements_of(name)
    return "torch" in seen


def lock_without_torch(lock: str) -> str:
    """The lines of a lock, without the distributions that need torch and their hashes."""
    lines: list[str] = []
    wanted = True
    for line in lock.splitlines():
        if pin := PIN.match(line):
            wanted = not needs_torch(canonical(pin[1]))
        if wanted:
            lines.append(line)
    return "\n".join(lines) + "\n"


def interpreter(version: str) -> str:
    """The path of a Python of this version: one on PATH, or of pyenv. Leaves the process where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))]
    for candidate in filter(None, candidates):
        answer = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True
        )
        if answer.stdout.strip() == version:
            return candidate
    sys.exit(
        f"error: there is no Python {version} here: install it (`pyenv install {version}`), or run `make test` alone."
    )


def environment_of(version: str) -> Path:
    """The Python of `.venv-<version>`, made or brought up to date where the locks say something else than it was made of."""
    folder = ROOT / f".venv-{version}"
    pins = lock_without_torch("".join(lock.read_text("utf-8") for lock in LOCKS))
    stamp, python = folder / "installed", folder / "bin/python"
    if not stamp.is_file() or stamp.read_text("utf-8") != pins:
        print(f"making {folder.name}", flush=True)
        subprocess.run([interpreter(version), "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        with tempfile.NamedTemporaryFile("w", suffix=".lock", encoding="utf-8") as file:
            file.write(pins)
            file.flush()
            subprocess.run([*pip, "--require-hashes", "-r", file.name], check=True)
        subprocess.run([*pip, "--no-build-isolation", "--editable", str(ROOT)], check=True)
        stamp.write_text(pins, "utf-8")
    return python


def collected(*words: str) -> list[str]:
    """The ids of the tests that pytest collects here."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--verbosity=-1", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return [line for line in done.stdout.splitlines() if "::" in line]


def outcomes(python: str | Path, tests: Sequence[str], parallel: bool = True) -> tuple[int, dict[str, str]]:
    """(exit code, {id: passed, failed or skipped}) of running these tests."""
    with tempfile.TemporaryDirectory() as name:
        listed, noted = Path(name, "tests"), Path(name, "outcomes")
        listed.write_text("\n".join(tests), "utf-8")
        noted.touch()
        spread = ["-n", "auto", "--dist", "loadfile"] if parallel else ["-p", "no:xdist"]
        command = [str(python), "-m", "pytest", "-p", "tests.pythons", *spread, f"@{listed}"]
        path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {variable: value for variable, value in os.environ.items() if not variable.startswith("PYTEST_XDIST")}
        done = subprocess.run(
            command, cwd=ROOT, env={**kept, OUTCOMES: str(noted), "OMP_NUM_THREADS": "1", "PATH": path}
        )
        found: dict[str, str] = {}
        for line in noted.read_text("utf-8").splitlines():
            test, when, outcome = json.loads(line)
            if when == "call" or outcome != "passed":
                found[test] = outcome
    return done.returncode, found


def shortfall(expected: Sequence[str], found: dict[str, str], skipped_here: set[str]) -> list[str]:
    """What a run lacks: tests that it never came to, and tests that it skips and this Python does not."""
    never = [f"never run: {test}" for test in expected if test not in found]
    skipped = [f"skipped: {test}" for test in expected if found.get(test) == "skipped" and test not in skipped_here]
    return never + skipped


def left_out(every: Sequence[str], expected: Sequence[str]) -> str:
    """A line that says how many tests are not run, and of which files."""
    missing = Counter(test.partition("::")[0] for test in set(every) - set(expected))
    files = ", ".join(f"{file} {count}" for file, count in sorted(missing.items()))
    return f"{len(every) - len(expected):,} of {len(every):,} tests need torch, Ray or MkDocs and are left out: {files}"


def main(versions: list[str]) -> None:
    every, expected = collected(), collected("-m", "not torch and not ray and not docs")
    print(left_out(every, expected), flush=True)
    faults: list[str] = []
    for version in versions:
        print(f"\nPython {version}: {len(expected):,} tests", flush=True)
        code, found = outcomes(environment_of(version), expected)
        skipped = [test for test, outcome in found.items() if outcome == "skipped"]
        skipped_here = (
            {test for test, outcome in outcomes(sys.executable, skipped, False)[1].items() if outcome == "skipped"}
            if skipped
            else set()
        )
        lacking = shortfall(expected, found, skipped_here)
        faults += [f"Python {version}: {line}" for line in ([f"pytest ended with {code}"] if code else []) + lacking]
    if faults:
        sys.exit("\n".join(["", *faults]))


if __name__ == "__main__":
    main(sys.argv[1:])
