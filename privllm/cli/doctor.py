"""The command `privllm doctor`, which looks at the machine and the installation with `manage.doctor`."""

from shutil import get_terminal_size
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from privllm.cli.error_handling import commands_of
from privllm.core.printable import say, say_json
from privllm.engine.stage import FAILED
from privllm.manage.doctor.finding import Finding, State

COLOURS = {State.ok: "green", State.warning: "yellow", State.missing: "bold red"}


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    commands_of(app)(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Look at Python, libraries, torch and GPU, disk, git and DVC, and name the command that mends
    what is missing.

    A warning costs speed, space or a command. What is missing stops a build, and the exit code is
    then 1. Nothing is changed and no network used. `privllm check` looks at documents, code and
    parameters.
    """
    from privllm.manage.doctor.report import examine, verdict

    findings = []
    console = Console(highlight=False, soft_wrap=True)
    columns = get_terminal_size((140, 24)).columns
    for finding in examine():  # each is shown at once, for torch takes seconds
        findings.append(finding)
        if not as_json:
            console.print(coloured(finding, columns))
    is_missing = any(finding.state is State.missing for finding in findings)
    if as_json:
        say_json({"ok": not is_missing, "checks": [finding._asdict() for finding in findings]}, indent=1)
    else:
        say()
        say(verdict(findings))
    if is_missing:
        raise typer.Exit(FAILED)


def coloured(finding: Finding, columns: int) -> Text:
    """Return the lines of a finding, its state in a colour."""
    text = Text("\n".join(finding.lines(columns)))
    text.stylize(COLOURS[finding.state], 0, len(finding.state))
    return text
