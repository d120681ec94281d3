"""The Dockerfile as it is written: no root, no address, nothing of a user's in the image. tests/container_run.py keeps its promises."""

import fnmatch
import re
from pathlib import PurePosixPath

import pytest

from privllm.engine.fingerprint import locked_versions
from privllm.project.contents import copied_files, documentation_files
from privllm.project.package_wheel import BUILD_FILES
from tests.container_run import health_check, variables
from tests.workshop import ROOT

TEXT = (ROOT / "Dockerfile").read_text("utf-8")
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
INSTRUCTIONS = [(line.partition(" ")[0], " ".join(line.partition(" ")[2].split())) for line in LINES]


def last(instruction: str) -> str:
    return [words for name, words in INSTRUCTIONS if name == instruction][-1]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last rule that matches it, or a folder above it, decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        rule = line.removeprefix("!")
        if line.startswith("#") or not line:
            continue
        above = [PurePosixPath(path), *PurePosixPath(path).parents][:-1]
        if any(matches(folder.as_posix(), rule) for folder in above):
            sent = line.startswith("!")
    return sent


def matches(path: str, rule: str) -> bool:
    """As Docker matches: `*` within one name, `**/` any folders."""
    if rule.startswith("**/"):
        return matches(path.rpartition("/")[2], rule[3:])
    names, rules = path.split("/"), rule.split("/")
    return len(names) == len(rules) and all(map(fnmatch.fnmatchcase, names, rules))


def test_the_image_runs_as_nobody_in_particular() -> None:
    stage = INSTRUCTIONS[max(index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]
    users = [words for name, words in stage if name == "USER"]
    assert len(users) == 1
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[0])
    assert [
        name for name, _ in stage if name in ("RUN", "VOLUME")
    ] == []  # nothing is written that --read-only would miss


def test_the_base_is_an_argument_with_a_version_and_stages_start_from_it() -> None:
    assert INSTRUCTIONS[0][0] == "ARG"
    assert re.fullmatch(r"BASE=python:3\.1[123]-slim-\w+", INSTRUCTIONS[0][1])
    assert [words for name, words in INSTRUCTIONS if name == "FROM"] == [
        "${BASE} AS system",
        "system AS build",
        "system",
    ]


def test_nothing_comes_from_an_address_or_without_a_hash() -> None:
    assert [name for name, _ in INSTRUCTIONS if name in ("ADD", "MAINTAINER", "SHELL")] == []
    assert re.findall(r"\w+://[^/]*", TEXT) == ["http://127.0.0.1:8000"]  # the health check
    assert not re.search(r"curl|wget|\bsudo\b|chmod 777|:latest", TEXT)
    installs = re.findall(r"pip install ([^\n]+)", TEXT)
    assert installs == [
        "torch==${TORCH}",
        "--no-deps --require-hashes --requirement requirements.lock",
        "--no-deps --no-build-isolation --no-index .",
    ]
    assert f"TORCH={locked_versions(ROOT / 'requirements.lock')['torch']}" in {words for _, words in INSTRUCTIONS}
    apt = next(words for name, words in INSTRUCTIONS if name == "RUN" and "apt-get install" in words)
    assert "--no-install-recommends" in apt
    assert "rm -rf /var/lib/apt/lists/*" in apt


def test_no_secret_is_kept_in_the_image() -> None:
    """An ARG of the last stage, or an ENV, can be read in it."""
    names = re.findall(r"(\w+)=", " ".join(words for name, words in INSTRUCTIONS if name in ("ENV", "ARG")))
    assert [name for name in names if re.search(r"TOKEN|PASSWORD|SECRET|KEY", name)] == []
    assert not re.search(r"\nARG", TEXT.rpartition("\nFROM ")[2])


def test_libraries_write_below_tmp_alone() -> None:
    given = variables(TEXT)
    assert {given.pop("PYTHONDONTWRITEBYTECODE"), given.pop("USER")} == {"1", "privllm"}
    assert set(given) == {"HOME", "XDG_CACHE_HOME", "DVC_SITE_CACHE_DIR"}
    assert all(value.startswith("/tmp/") for value in given.values())


def test_the_entry_point_is_privllm_and_its_server_is_asked() -> None:
    assert (last("ENTRYPOINT"), last("CMD"), last("EXPOSE")) == ('["privllm"]', '["--help"]', "8000")
    program, option, statement = health_check(TEXT)
    assert (program, option) == ("python", "-c")
    compile(statement, "HEALTHCHECK", "exec")
    assert "http://127.0.0.1:8000/" in statement.replace(" ", "")


def test_what_the_wheel_is_built_from_is_sent() -> None:
    sources = [path.relative_to(ROOT) for path in (ROOT / "privllm").rglob("*") if path.is_file()]
    kept = [path for path in sources if "__pycache__" not in path.parts]
    needed = [*BUILD_FILES, "requirements.lock", *kept, *copied_files(ROOT), *documentation_files(ROOT)]
    assert [str(path) for path in needed if not is_sent(str(path))] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".privllm/people.sqlite",
        ".dvc/cache/files/md5/00/11",
        ".dvc/config.local",
        "data/sources/letter.txt",
        "data/promoted/model/model.safetensors",
        "reports/index.html",
        "privllm/core/__pycache__/seed.cpython-311.pyc",
        "privllm-0.1.0-linux-x86_64-python3.11.tar",
        "tests/test_dockerfile.py",
        ".env",
    ],
)
def test_what_is_a_users_is_not_sent(path: str) -> None:
    assert not is_sent(path)
