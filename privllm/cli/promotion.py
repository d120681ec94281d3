"""The commands for what stays from build to build: `privllm promote`, `privllm models` and `privllm vocabulary`.

Each parses, calls one function of `privllm.manage`, and prints.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.error_handling import commands_of
from privllm.core.printable import say, say_json
from privllm.engine.pipeline import require_root


class VersionPart(StrEnum):
    """Parts of a version number."""

    major = "major"
    minor = "minor"
    patch = "patch"


class VocabularyAction(StrEnum):
    """What `privllm vocabulary` does."""

    keep = "keep"
    drop = "drop"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for function in (promote, models, vocabulary):
        commands_of(app)(function)


def promote(
    part: Annotated[
        VersionPart,
        typer.Argument(help="Which part of the version to count up; the first version is v1.0.0."),
    ] = VersionPart.minor,
) -> None:
    """Make the last commit's build the incumbent: what the next revision is judged by, and may
    start from.

    It takes a passed gate and a build that is up to date and committed. The commit is tagged
    privllm@v1.2.0, the model copied to data/promoted (`dvc add`) and staged in git. To take it
    back: `git tag --delete` the tag, and
    `git restore --staged --worktree data/promoted && dvc checkout data/promoted/model/incumbent.dvc`.
    """
    from privllm.manage.promote import promote as promote_build

    promote_build(Path(), part.value, say)


def vocabulary(
    action: Annotated[
        VocabularyAction, typer.Argument(help="keep: for all later builds; drop: the next build learns one.")
    ],
) -> None:
    """Keep the vocabulary that this build learnt, or have one learnt anew.

    A kept one is in data/vocabulary (`dvc add`), staged in git, and `dvc repro` uses it until
    `tokenizer` or `sample` in params.yaml change. An edited document then packs its own shard again,
    and not every one. `privllm promote` keeps it too.
    """
    from privllm.manage.vocabulary import drop, keep

    require_root()
    function = keep if action == VocabularyAction.keep else drop
    function(Path(), say)


def models(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the promoted models with their figures, newest first; `*` marks the incumbent.

    Each is a git tag away: `privllm serve --revision privllm@v1.1.0` serves one, and
    `git checkout privllm@v1.1.0 && dvc checkout` goes back to its data, parameters and code.
    """
    from privllm.manage.promote import releases

    require_root()
    promoted = releases(Path())
    if as_json:
        say_json([release.plain() for release in promoted], indent=1)
        return
    if not promoted:
        say("No model has been promoted yet: `privllm promote` after `dvc repro` and a commit.")
        return
    metrics = list(dict.fromkeys(name for release in promoted for name in release.figures))
    rows = [["", "model", "commit", "date", *metrics]]
    for release in promoted:
        figures = [_figure(release.figures.get(name)) for name in metrics]
        marker = "*" if release.incumbent else ""
        rows.append([marker, release.tag, release.commit[:9], release.date, *figures])
    _print_columns(rows)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are as wide as their longest cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())
