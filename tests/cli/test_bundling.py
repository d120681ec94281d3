"""`privllm bundle` passes its options on, prints progress on stderr and the archive on stdout."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.project.bundle import Bundle
from privllm.project.platforms import Target
from privllm.project.wheel_cache import Say
from tests.workshop import ROOT


def test_options_and_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    asked: list[object] = []

    def make_bundle(out: Path, target: Target, torch: str, wheel: Path | None, say: Say) -> Bundle:
        asked.extend([out, target, torch, wheel])
        say("fetching numpy")
        return Bundle(out, "privllm-1", 3, 2_000_000, "abc", ["torch 2.13.0"])

    monkeypatch.setattr("privllm.project.bundle.make_bundle", make_bundle)
    options = "--out x.tar --torch cpu --platform linux-aarch64 --python-version 3.12"
    done = CliRunner().invoke(app, ["bundle", *options.split()])
    assert asked == [Path("x.tar"), Target("linux", "aarch64", "3.12"), "cpu", None]
    assert done.exit_code == 0
    assert done.stderr == "fetching numpy\n"
    assert done.stdout.startswith("x.tar: 3 wheels, 2 MB\nsha256 abc\n")


def test_another_folder_is_no_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["bundle"])
    assert done.exit_code == 1
    assert "run this from the root of the repository" in done.stderr
