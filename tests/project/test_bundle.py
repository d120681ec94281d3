"""A bundle is the same bytes each time, installs without a network, and is refused by name where anything in it was changed."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.project import bundle
from privllm.project.bundle import AS_INSTALLED, CPU, Bundle, make_bundle, torch_requirement
from privllm.project.platforms import Target, this_target
from tests.namespaces import FORBIDDEN, NO_NETWORK
from tests.project.tiny_packages import lock_line, make_source, make_wheel

COMMAND = "def main():\n    import tiny_a, tiny_b\n    print(tiny_a.VALUE, tiny_b.VALUE)\n"
TORCH = "9.9+cpu" if sys.platform == "linux" else "9.9"


def said_nothing(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose lock pins two tiny packages and torch, and an index that has them."""
    folder = tmp_path_factory.mktemp("bundle")
    index = folder / "index"
    wheel = make_wheel(index, "tiny_a", "1.0", body="VALUE = 'downloaded'\n")
    source = make_source(index, "tiny_b", "2.0")
    make_wheel(index, "torch", TORCH, ["tiny-a"])
    make_wheel(folder, "privllm", "0.1.0", body=COMMAND, script="privllm")
    lock = lock_line(wheel, "tiny-a==1.0") + lock_line(source, "tiny-b==2.0")
    absent = lock_line(wheel, "tiny-windows==1.0", "sys_platform == 'win32'")
    (folder / "requirements.lock").write_text(f"torch==9.9\n{lock}{absent}", "utf-8")
    return folder


def use_index_of(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to the project, and make pip ask its index alone, whatever this machine's pip.conf says."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(project / "index"))


@pytest.fixture(autouse=True)
def at_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index_of(project, monkeypatch)


def pack(project: Path, out: Path) -> Bundle:
    return make_bundle(out, this_target(), CPU, project / "privllm-0.1.0-py3-none-any.whl", said_nothing)


@pytest.fixture(scope="module")
def archive(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_index_of(project, monkeypatch)
        return pack(project, tmp_path_factory.mktemp("out") / "carried.tar").path


@pytest.fixture
def unpacked(archive: Path, tmp_path: Path) -> Path:
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)  # as people do
    return next(tmp_path.iterdir())


def install(
    unpacked: Path, folder: Path, *before: str, python: str = sys.executable
) -> "subprocess.CompletedProcess[str]":
    command = [*before, "sh", str(unpacked / "install.sh"), str(folder)]
    return subprocess.run(command, env=os.environ | {"PYTHON": python}, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_archive_is_the_same_bytes_whenever_and_wherever_it_is_written(
    project: Path, archive: Path, tmp_path: Path
) -> None:
    again = pack(project, tmp_path / "other-name.tar")
    assert again.path.read_bytes() == archive.read_bytes()
    assert (tmp_path / "other-name.tar.sha256").read_text() == f"{again.sha256}  other-name.tar\n"
    with tarfile.open(archive) as tar:
        entries = tar.getmembers()
    top = f"privllm-0.1.0-{this_target()}"
    names = [entry.name for entry in entries]
    assert names == sorted(names)
    assert {name.partition("/")[0] for name in names} == {top}
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.type) for entry in entries} == {(0, 0, 0, "", b"0")}
    wheels = sorted(name.rpartition("/")[2].partition("-")[0] for name in names if "/wheels/" in name)
    assert wheels == ["privllm", "tiny_a", "tiny_b", "torch"]
    assert f"{top}/docs/docs/guides/serve.md" in names or f"{top}/docs/index.html" in names
    said = "\n".join(again.lines())
    assert f"torch {TORCH}" in said
    assert f"sh {top}/install.sh" in said


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.skipif(not NO_NETWORK, reason=FORBIDDEN)
def test_it_installs_without_a_network_exactly_what_it_lists(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")  # whatever pip is told here, install.sh uses the wheels
    done = install(unpacked, tmp_path / "environment", *NO_NETWORK)
    assert done.returncode == 0, done.stderr
    assert "downloaded built" in done.stdout
    said = subprocess.run(
        [tmp_path / "environment/bin/python", "-m", "pip", "freeze"], capture_output=True, text=True, check=True
    ).stdout
    assert {line.partition(" ")[0] for line in said.splitlines()} >= {"tiny_a==1.0", "tiny_b==2.0", f"torch=={TORCH}"}
    again = install(unpacked, tmp_path / "environment")
    assert again.returncode == 1
    assert "exists: name a new folder" in again.stderr


def change_wheel(folder: Path) -> None:
    path = next(folder.glob("wheels/tiny_a-*"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def name_outside(folder: Path) -> None:
    (folder.parent / "outside.whl").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{empty}  wheels/../../outside.whl\n")


def swap_for_link(folder: Path) -> None:
    path = next(folder.glob("wheels/tiny_a-*"))
    shutil.move(path, folder.parent / "elsewhere.whl")
    path.symlink_to(folder.parent / "elsewhere.whl")


TAMPERED: list[tuple[Callable[[Path], object], str]] = [
    (change_wheel, "wheels/tiny_a-1.0-py3-none-any.whl is not as it was bundled"),
    (
        lambda folder: (folder / "wheels/evil-1.0-py3-none-any.whl").touch(),
        "wheels/evil-1.0-py3-none-any.whl is not of",
    ),
    (lambda folder: (folder / "new\nline").touch(), "line is not of this bundle"),
    (name_outside, "a file outside of this folder: wheels/../../outside.whl"),
    (lambda folder: (folder / "requirements.txt").unlink(), "requirements.txt is missing"),
    (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
    (lambda folder: (folder / "SHA256SUMS").write_text("x\n"), "a line that it should not have: x"),
    (swap_for_link, "wheels/tiny_a-1.0-py3-none-any.whl is neither a file nor a folder"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("tamper", "words"), TAMPERED, ids=[words.split(" ")[0] for _, words in TAMPERED])
def test_what_was_changed_is_refused_by_name(
    unpacked: Path, tmp_path: Path, tamper: Callable[[Path], object], words: str
) -> None:
    tamper(unpacked)
    done = install(unpacked, tmp_path / "environment")
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / "environment").exists()


@pytest.mark.slow
def test_a_wheel_that_cannot_be_installed_leaves_nothing(unpacked: Path, tmp_path: Path) -> None:
    """pip has a second look: the hashes of requirements.txt."""
    requirements = unpacked / "requirements.txt"
    text = requirements.read_text()
    requirements.write_text(re.sub(r"sha256:(.)", lambda match: f"sha256:{'10'[match[1] != '0']}", text))
    sums = [line for line in (unpacked / "SHA256SUMS").read_text().splitlines() if "requirements.txt" not in line]
    digest = bundle.sha256_of(requirements)
    (unpacked / "SHA256SUMS").write_text("\n".join([*sums, f"{digest}  requirements.txt"]) + "\n")
    done = install(unpacked, tmp_path / "environment")
    assert done.returncode == 1
    assert "pip could not install the wheels" in done.stderr
    assert not (tmp_path / "environment").exists()


@pytest.mark.slow
def test_another_python_or_a_folder_of_the_bundle_is_refused(unpacked: Path, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho linux-riscv64-python3.9\n")
    other.chmod(0o755)
    assert "is linux-riscv64-python3.9" in install(unpacked, tmp_path / "environment", python=str(other)).stderr
    assert "/bin/false does not run" in install(unpacked, tmp_path / "environment", python="/bin/false").stderr
    assert "there is no python9" in install(unpacked, tmp_path / "environment", python="python9").stderr
    other.write_text(f"#!/bin/sh\n[ $1 = -c ] && echo {this_target()}\n")
    assert (
        "cannot make an environment (on Debian" in install(unpacked, tmp_path / "environment", python=str(other)).stderr
    )
    nameless = subprocess.run(["sh", unpacked / "install.sh"], capture_output=True, text=True, check=False)
    assert "name the folder of the new environment" in nameless.stderr
    assert "lies in the bundle itself" in install(unpacked, unpacked / "environment").stderr


def test_a_full_disk_is_said_before_anything_is_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 8, 1))
    with pytest.raises(UserError, match=r"takes 1 MB, and 0 MB are free"):
        bundle._require_room(tmp_path / "x.tar", {"a": b"x" * 600_000})


@pytest.mark.parametrize(
    ("name", "words"),
    [("x.zip", "end it with .tar"), ("folder.tar", "end it with .tar"), ("no/x.tar", "there is no folder")],
)
def test_an_archive_that_cannot_be_written_is_said_before_the_download(
    project: Path, tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(UserError, match=words):
        pack(project, tmp_path / name)


@pytest.mark.parametrize(
    ("choice", "installed", "target", "expected"),
    [
        (CPU, "", Target("linux", "aarch64", "3.12"), "torch==2.13.0+cpu"),
        (CPU, "", Target("macos", "arm64", "3.12"), "torch==2.13.0"),
        (AS_INSTALLED, "2.13.0+cu130", Target("linux", "x86_64", "3.11"), "torch==2.13.0+cu130"),
        (AS_INSTALLED, "2.13.0+cu130", Target("macos", "arm64", "3.11"), "torch==2.13.0"),
    ],
)
def test_torch_is_the_locks_in_the_build_that_was_chosen(
    monkeypatch: pytest.MonkeyPatch, choice: str, installed: str, target: Target, expected: str
) -> None:
    monkeypatch.setattr(bundle, "version", lambda name: installed)
    assert torch_requirement(choice, "2.13.0", target) == expected


@pytest.mark.parametrize(
    ("choice", "locked", "words"),
    [
        (AS_INSTALLED, "2.14.0", "is installed, and requirements.lock pins 2.14.0"),
        ("gpu", "2.13.0", "neither cpu nor as-installed"),
        (CPU, "", "pins no torch"),
    ],
)
def test_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch, choice: str, locked: str, words: str) -> None:
    monkeypatch.setattr(bundle, "version", lambda name: "2.13.0+cpu")
    with pytest.raises(UserError, match=words):
        torch_requirement(choice, locked, this_target())


def test_a_torch_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise bundle.PackageNotFoundError(name)

    monkeypatch.setattr(bundle, "version", version)
    with pytest.raises(UserError, match="say `--torch cpu`"):
        torch_requirement(AS_INSTALLED, "2.13.0", this_target())
