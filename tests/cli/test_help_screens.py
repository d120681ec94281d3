"""Help screens at several widths; which commands there are, tests/test_cli.py checks."""

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.cli.command_groups import GROUP_OF, GROUPS, ORDER
from privllm.cli.error_handling import help_text


@pytest.mark.parametrize("words", [[], ["plan"], ["token"], ["token", "new"]])
def test_a_switch_takes_no_value_and_shows_no_type(words: list[str]) -> None:
    output = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "140"}).output
    assert "--help" in output
    assert "<bool>" not in output


def test_options_with_a_value_show_its_type() -> None:
    assert "<int" in CliRunner().invoke(app, ["audit", "--help"], env={"COLUMNS": "140"}).output


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_commands_stand_in_their_groups_in_order(columns: int) -> None:
    output = CliRunner().invoke(app, ["--help"], env={"COLUMNS": str(columns)}).output
    assert max(map(len, output.splitlines())) <= columns
    titles = [line.strip("╭╮─ ") for line in output.splitlines() if line.startswith("╭")]
    assert titles == ["Options", *GROUPS]
    rows = [line[2:].split(" ")[0] for line in output.splitlines() if line.startswith("│ ")]
    assert [word for word in rows if word in GROUP_OF] == ORDER


def test_a_sentence_is_broken_only_where_the_terminal_ends() -> None:
    def command() -> None:
        """Say something in
        two lines.

        And more
        of it.
        """

    assert help_text(command) == "Say something in two lines.\n\nAnd more of it."
    output = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "140"}).output
    assert "for about how long and with how much memory; nothing is run and nothing changed." in output
