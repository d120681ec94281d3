import pytest

from privllm.manage.doctor.finding import CHECK_WIDTH, Finding, State, in_gb
from tests.hostile import ESCAPED, EVIL, obeyed

LONG = Finding(
    "disk", State.warning, "3.0 GB free of 100 GB at /a/long/path that goes on and on and on", "privllm gc --keep 5GB"
)


def test_a_finding_is_a_line_with_the_command_below() -> None:
    assert list(LONG.lines(140)) == [
        "warning  disk          3.0 GB free of 100 GB at /a/long/path that goes on and on and on",
        "                       -> privllm gc --keep 5GB",
    ]


@pytest.mark.parametrize("columns", [60, 80])
def test_a_long_value_is_wrapped_below_itself(columns: int) -> None:
    lines = list(LONG.lines(columns))
    assert len(lines) > 2
    assert max(map(len, lines)) <= columns
    assert {line[:23] for line in lines[1:]} == {" " * 23}


def test_a_command_is_never_cut() -> None:
    command = "pip install " + "x" * 100
    assert list(Finding("torch", State.missing, "", command).lines(40))[-1].endswith(command)


def test_names_from_outside_are_shown_not_obeyed() -> None:
    lines = "\n".join(Finding("project", State.ok, EVIL, EVIL).lines(10_000))
    assert lines.count(ESCAPED) == 2
    assert not obeyed(lines)


def test_sizes_are_read_at_a_glance() -> None:
    assert in_gb(3 << 29) == "1.5 GB"
    assert in_gb(1_200 << 30) == "1,200 GB"


def test_the_column_of_names_is_as_wide_as_the_longest() -> None:
    from privllm.manage.doctor.report import installation_checks, machine_checks, project_checks
    from tests.workshop import ROOT

    checks = [*installation_checks(ROOT), *machine_checks(ROOT), *project_checks(ROOT)]
    assert max(len(name) for name, _ in checks) == CHECK_WIDTH
