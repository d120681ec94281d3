"""Wheels are selected for this machine, or by the tags and markers of another."""

import platform
import sys
from itertools import pairwise

import pytest
from packaging.markers import Marker

from privllm.core.errors import UserError
from privllm.project.platforms import OTHERS, PYTHONS, Target, target_of, this_target
from privllm.project.template import PYTHON


def test_pip_needs_no_options_for_this_machine() -> None:
    assert target_of() == this_target()
    assert target_of().pip_options() == []
    assert target_of().markers()["python_full_version"] == platform.python_version()


def test_pythons_are_those_that_a_project_takes() -> None:
    assert f">={PYTHONS[0]},<3.{int(PYTHONS[-1].partition('.')[2]) + 1}" == PYTHON


@pytest.mark.parametrize("name", OTHERS)
def test_markers_are_those_of_the_other_machine(name: str) -> None:
    target = target_of(name, next(python for python in PYTHONS if python != this_target().python))
    environment = dict(target.markers())
    assert not target.is_here()
    assert Marker("sys_platform == 'darwin'").evaluate(environment) == name.startswith("macos")
    assert Marker("platform_system == 'Linux'").evaluate(environment) == name.startswith("linux")
    assert Marker(f"platform_machine == '{name.partition('-')[2]}'").evaluate(environment)
    assert Marker(f"python_full_version >= '{target.python}'").evaluate(environment)


def test_tags_are_the_newest_first_and_reach_back() -> None:
    python = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"
    options = Target("linux", "aarch64", python).pip_options()
    tags = [tag for option, tag in pairwise(options) if option == "--platform"]
    assert (tags[0], tags[-1]) == ("manylinux_2_28_aarch64", "linux_aarch64")
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(tags)
    assert options[:4] == ["--implementation", "cp", "--python-version", python]
    assert Target("macos", "arm64", python).pip_options()[-1] == "macosx_14_0_arm64"


@pytest.mark.parametrize(("name", "python"), [("windows-x86_64", ""), ("", "3.10"), ("linux", "")])
def test_what_privllm_does_not_run_on_is_refused(name: str, python: str) -> None:
    with pytest.raises(UserError, match="is none that"):
        target_of(name, python)
