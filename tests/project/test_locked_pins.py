"""A lock is read with its hashes and markers, and a line that pins nothing is named."""

from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.fingerprint import locked_versions
from privllm.project.locked_pins import pins_for, read_pins
from privllm.project.platforms import OTHERS, target_of
from tests.workshop import ROOT

HASH = "--hash=sha256:" + "0" * 64


def test_every_pin_of_the_repositorys_lock_is_read() -> None:
    pins = read_pins(ROOT / "requirements.lock")
    assert {pin.name: pin.version for pin in pins} == locked_versions(ROOT / "requirements.lock")
    assert sum(len(pin.sha256) for pin in pins) == (ROOT / "requirements.lock").read_text("utf-8").count("--hash=")
    assert [pin.name for pin in pins if not pin.sha256] == ["torch"]


@pytest.mark.parametrize("name", OTHERS)
def test_pins_of_other_systems_are_left_out(name: str) -> None:
    pins = read_pins(ROOT / "requirements.lock")
    expected = {pin.name for pin in pins_for(pins, target_of(name, "3.11"))}
    assert "numpy" in expected
    assert "pywin32" not in expected
    older = expected - {pin.name for pin in pins_for(pins, target_of(name, "3.13"))}
    assert "importlib-metadata" in older  # 3.11 alone needs it


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"numpy>=2 {HASH}", "no exact pin"),
        ("numpy==2.4", "no --hash"),
        (f"--extra-index-url=https://localhost {HASH}", "no exact pin"),
        (f"numpy @ file:///numpy.whl {HASH}", "no exact pin"),
        (f"numpy==2.4 ; sys_platform = 'x' {HASH}", "marker"),
    ],
)
def test_a_line_that_does_not_pin_is_named(tmp_path: Path, line: str, words: str) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"# comment \\\n\n{line}\n", "utf-8")
    with pytest.raises(UserError, match=f":3.*{words}"):
        read_pins(lock)


def test_a_missing_lock_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        read_pins(tmp_path / "requirements.lock")


def test_a_line_for_pip_has_the_hashes_and_no_marker(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"Zope.Interface==1.0 ; python_version < '4' \\\n    {HASH} \\\n    {HASH[:-1]}1\n", "utf-8")
    (pin,) = read_pins(lock)
    assert pin.line() == f"zope-interface==1.0 {HASH} {HASH[:-1]}1"
