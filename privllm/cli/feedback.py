"""Commands for what people said: `privllm feedback export, forget, ranking`.

Each parses, calls one function of `privllm.serve` or `privllm.manage`, and prints.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.command_groups import GROUP_OF
from privllm.cli.error_handling import commands_of
from privllm.cli.help_screens import Group
from privllm.cli.serving import people_database
from privllm.core.errors import UserError
from privllm.core.printable import printable, say

feedback = typer.Typer(cls=Group, no_args_is_help=True, help="Ratings and votes on replies.")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for function in (export, forget, ranking):
        commands_of(feedback, "privllm feedback")(function)
    app.add_typer(feedback, name="feedback", rich_help_panel=GROUP_OF["feedback"])


def export(
    dvc_add: Annotated[
        bool, typer.Option("--dvc-add", help="Run `dvc add` on these files afterwards, without asking.")
    ] = False,
) -> None:
    """Append new ratings and votes to data/feedback/*.jsonl, each exactly once, and take out what was
    taken back."""
    database = people_database()
    from privllm.serve.feedback_export import FOLDER, export_feedback

    exported = export_feedback(database)
    for name, count in exported.removed.items():
        say(f"{FOLDER / name}  {count} taken back")
    for name, count in exported.appended.items():
        say(f"{FOLDER / name}  {count} new")
    names = dict.fromkeys([*exported.appended, *exported.removed])
    files = [str(FOLDER / name) for name in names if (FOLDER / name).is_file()]
    if not files:
        return
    # The files, not their folder: git tracks the folder, because the build depends on it even where
    # there is no feedback yet.
    command = ["dvc", "add", *files]
    if not dvc_add and not (sys.stdin.isatty() and _agrees(f"Run `{' '.join(command)}`?")):
        say(f"Keep them with the build: {' '.join(command)}")
    elif subprocess.run([sys.executable, "-P", "-m", *command], check=False).returncode:
        raise UserError(
            f"`{' '.join(command)}` failed: see above. The files are written; run it again once that is fixed."
        )


def _agrees(question: str) -> bool:
    """Ask a person; Enter is yes, the end of the input is no, and Ctrl-C ends the command."""
    try:
        return input(f"{question} [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


def forget(
    rater: Annotated[
        str, typer.Option(metavar="NAME", help="All that this person said: a name, or a pseudonym of raters.jsonl.")
    ] = "",
    identifier: Annotated[
        str, typer.Option("--id", metavar="ID", help="One rating or vote, by its id there or in data/feedback_clean.")
    ] = "",
    text: Annotated[str, typer.Option(metavar="WORDS", help="Whatever these words stand in.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    no_repro: Annotated[
        bool, typer.Option("--no-repro", help="Only remove; build and prove later, without this option.")
    ] = False,
) -> None:
    """Remove ratings and votes from the database and data/feedback, build again, and prove that
    nothing of them is left; the exit code is 1 where it is."""
    from privllm.feedback.wanted import Wanted

    wanted = Wanted(_as_typed(rater), _as_typed(identifier), " ".join(_as_typed(text).split()))
    if sum(map(bool, (wanted.rater, wanted.identifier, wanted.text))) != 1:
        raise UserError("say whose or which: one of --rater NAME, --id ID and --text WORDS.")
    database = people_database()
    from privllm.manage.forget import ForgetOptions, confirm
    from privllm.manage.forget_feedback import forget_feedback

    options = ForgetOptions(say, None if yes else confirm, not no_repro)
    forget_feedback(Path(), wanted, database, options)


def _as_typed(argument: str) -> str:
    """Return an argument as UTF-8, which it is on every terminal, where Python read it as another encoding (LC_ALL=C)."""
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def ranking() -> None:
    """Print how often each model would be preferred, by all votes so far, with 95 % intervals
    (Bradley-Terry)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from privllm.feedback.ranking import ranking as rank_models

    votes = people_database().votes()
    if not votes:
        say("There are no votes yet: `privllm arena REV_A REV_B` collects them.")
        return
    columns = ("model", "revision", "preferred", "95 %", "won", "tied", "lost", "both bad")
    table = Table(*columns, title=f"{len(votes):,} vote{'s' * (len(votes) != 1)}", box=None)
    for row in rank_models(votes):
        table.add_row(
            Text(printable(row.model.name)),
            Text(printable(row.model.revision[:9])),
            f"{row.share:.0%}",
            f"{row.low:.0%} to {row.high:.0%}",
            str(row.wins),
            str(row.ties),
            str(row.losses),
            str(row.both_bad),
        )
    Console().print(table)
