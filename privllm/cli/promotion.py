"""What people type when a model is to be used: `privllm promote`, `privllm models`.

It parses, calls one function of `privllm.manage`, and prints.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.error_handling import commands_of
from privllm.core.printable import say, say_json
from privllm.engine.pipeline import require_root


class Part(StrEnum):
    """What of a version is counted up."""

    major = "major"
    minor = "minor"
    patch = "patch"


def add_to(app: typer.Typer) -> None:
    """Register everything of this module."""
    for function in (promote, models):
        commands_of(app)(function)


def promote(
    part: Annotated[Part, typer.Argument(help="Which part of the version to count up; the first version is v1.0.0.")] = Part.minor,
) -> None:
    """Make the last commit's build the incumbent: what the next revision is judged by, and may start from.

    It takes a passed gate and a build that is up to date and committed. The commit is tagged privllm@v1.2.0, the model copied to
    data/promoted (`dvc add`) and staged in git. To take it back: `git tag --delete` the tag, and
    `git restore --staged --worktree data/promoted && dvc checkout data/promoted/model/incumbent.dvc`.
    """
    from privllm.manage.promote import promote as make

    make(Path(), part.value, say)


def models(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the promoted models with their figures, newest first; `*` marks the incumbent.

    Each is a git tag away: `privllm serve --revision privllm@v1.1.0` serves one, and `git checkout privllm@v1.1.0 && dvc checkout` goes
    back to its data, parameters and code.
    """
    from privllm.manage.promote import releases

    require_root()
    found = releases(Path())
    if as_json:
        say_json([one.plain() for one in found], indent=1)
        return
    if not found:
        say("No model has been promoted yet: `privllm promote` after `dvc repro` and a commit.")
    names = list(dict.fromkeys(name for one in found for name in one.figures))
    rows = [("", "model", "commit", "date", *names)] if found else []
    for one in found:
        figures = (f"{one.figures[name]:.4f}" if name in one.figures else "-" for name in names)
        rows.append(("*" if one.incumbent else "", one.tag, one.commit[:9], one.date, *figures))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
