"""`privllm init` and `upgrade`: a project of one's own.

Each parses, calls functions of `privllm.project`, and prints. Heavy imports stay inside the commands.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.error_handling import commands_of
from privllm.core.errors import UserError
from privllm.core.printable import say


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    command = commands_of(app)
    command(init)
    command(upgrade)


def has_terminal() -> bool:
    """Return whether somebody can be asked."""
    return sys.stdin.isatty()


def init(
    folder: Annotated[
        Path, typer.Argument(help="The folder to make; it must be missing or empty.", show_default=False)
    ],
    no_git: Annotated[bool, typer.Option("--no-git", help="Make no git repository and no commit.")] = False,
) -> None:
    """Start a project: dvc.yaml, params.yaml, stages and the folders for documents, feedback and models.

    The project is yours to change; `privllm upgrade` takes a newer version in. The first commands stand in its README.md.
    """
    from privllm.project.init import create_project

    for line in create_project(folder, not no_git).lines():
        say(line)


def upgrade(
    yes: Annotated[bool, typer.Option("--yes", help="Apply it without asking.")] = False,
) -> None:
    """Take the installed version of privllm into this project: its stages, dvc.yaml and lock, merged with your changes.

    First it says what it would change, what contradicts your changes, and what `dvc repro` would rebuild, in documents and minutes.
    Nothing is changed before you agree. The exit code is 1 where conflicts are left to you; git's marks show them in the files.
    """
    from shutil import get_terminal_size

    from privllm.project.upgrade import apply, cost_lines, plan_of, prepare_upgrade

    prepared = prepare_upgrade()
    columns = get_terminal_size((140, 24)).columns
    if not prepared.is_needed:
        say(f"This project is of privllm {prepared.after} already: nothing to do.")
        return
    for line in [*prepared.lines(), "", *cost_lines(plan_of(prepared), columns)]:
        say(line)
    if not yes and not has_terminal():
        raise UserError("nothing was changed, for there is no terminal to ask on: `privllm upgrade --yes` applies it.")
    if not yes and not typer.confirm("\nApply it?", default=False):
        say("Nothing was changed.")
        return
    apply(prepared)
    if prepared.conflicts:
        paths = ", ".join(change.path for change in prepared.conflicts)
        say(f"Done but for {paths}: resolve what git's marks (<<<<<<<) show there, then `dvc repro`.")
        raise typer.Exit(1)
    say("Done: `git diff` shows it, `dvc repro` builds with it.")
