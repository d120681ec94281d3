"""What people type to let others talk to a model: `privllm serve`, `arena`, `token ...`, `feedback ...`.

It parses, calls one function of `privllm.serve`, and prints. Heavy imports stay inside the commands.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.error_handling import Command, commands_of
from privllm.core.errors import UserError
from privllm.core.printable import printable, say
from privllm.serve.folders import require_model

HOST, PORT = "127.0.0.1", 8000
Host = Annotated[str, typer.Option(help="The address to listen on; one that others reach needs access tokens.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Batch = Annotated[int, typer.Option(min=1, max=1024, help="Replies made at once; as many again, and at least 64, may wait.")]

token = typer.Typer(no_args_is_help=True, help="Access tokens: who may use the server.")
feedback = typer.Typer(no_args_is_help=True, help="What people said of replies.")


def add_to(app: typer.Typer) -> None:
    """Register everything of this module."""
    groups: tuple[tuple[typer.Typer, str, tuple[Command, ...]], ...] = (
        (app, "privllm", (serve, arena)),
        (token, "privllm token", (new, list_, revoke)),
        (feedback, "privllm feedback", (export, ranking)),
    )
    for group, prefix, functions in groups:
        for function in functions:
            commands_of(group, prefix)(function)
    app.add_typer(token, name="token")
    app.add_typer(feedback, name="feedback")


def _need_web() -> None:
    if missing := [name for name in ("fastapi", "httpx", "uvicorn") if find_spec(name) is None]:
        raise UserError(f"{', '.join(missing)} is not installed here: pip install 'privllm[serve]'.")


def _loading(what: Path | str) -> None:
    """Say so before torch is imported, which takes seconds; on stderr, for the first line on stdout is the address."""
    say(f"loading {what} ...", err=True)


def serve(
    model: Annotated[Path, typer.Argument(help="An exported model's folder, or another causal model's.")] = Path("data/export/causal"),
    engine: Annotated[str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server to stand before, instead.")] = None,
    revision: Annotated[str, typer.Option(help="Serve the model that this commit, tag (privllm@v1.1.0) or experiment exported.")] = "",
    host: Host = HOST,
    port: Port = PORT,
    batch: Batch = 32,
) -> None:
    """Serve a model: a web page to chat, correct and rate, and an OpenAI-compatible API. Ctrl-C stops it."""
    _need_web()
    if not engine:
        if not revision:
            require_model(model)
        _loading(revision or model)
    from privllm.serve.app import chat_app, hosts_for, listen
    from privllm.serve.database import People

    people = People()
    hosts = hosts_for(host, people)
    if engine:
        from privllm.serve.engine.remote import Upstream

        app = chat_app(Upstream(engine), people, hosts)
    else:
        from privllm.serve.engine.local import Batched
        from privllm.serve.revisions import fetch_export

        commit, folder = fetch_export(revision) if revision else ("", model)
        app = chat_app(Batched.open(folder, commit, batch, max(64, batch)), people, hosts)
    listen(app, host, port, lambda url: say(f"{url}   (API: {url}v1)   Ctrl-C stops"))


def arena(
    rev_a: Annotated[str, typer.Argument(help="A commit, branch, tag or experiment with an exported model.")],
    rev_b: Annotated[str, typer.Argument(help="Another one.")],
    host: Host = HOST,
    port: Port = PORT,
    batch: Batch = 8,
) -> None:
    """Compare two revisions' models blindly: a web page shows two replies without names, and takes votes. Ctrl-C stops it."""
    _need_web()
    _loading(f"{rev_a} and {rev_b}")
    from privllm.serve.app import arena_app, hosts_for, listen
    from privllm.serve.database import People
    from privllm.serve.engine.local import Batched
    from privllm.serve.revisions import fetch_export

    people = People()
    hosts = hosts_for(host, people)
    engines = [Batched.open(folder, commit, batch, max(64, batch)) for commit, folder in map(fetch_export, (rev_a, rev_b))]
    if len({engine.served.model.digest for engine in engines}) == 1:
        raise UserError(f"`{rev_a}` and `{rev_b}` hold the same model (equal weights), so votes would say nothing: name two that differ.")
    listen(arena_app(engines, people, hosts), host, port, lambda url: say(f"{url}   Ctrl-C stops"))


def new(
    name: Annotated[str, typer.Argument(help="Whose it is; ratings are kept under this name.")],
    requests_per_minute: Annotated[int, typer.Option(min=1)] = 120,
    tokens_per_minute: Annotated[int, typer.Option(min=1, help="Of the model: read and written.")] = 100_000,
) -> None:
    """Make an access token, and show it this once. From the first one on every call needs one."""
    from privllm.serve.auth import new_token
    from privllm.serve.database import People

    say(new_token(People(), name, requests_per_minute, tokens_per_minute))
    say("Keep it: only its hash is stored, so it cannot be shown again.", err=True)


def list_() -> None:
    """Show whose access tokens there are, and their limits."""
    from privllm.serve.database import People

    for known in People().tokens():
        state = f"revoked {known.revoked}" if known.revoked else f"{known.requests_per_minute}/min, {known.tokens_per_minute} tokens/min"
        say(f"{known.name:<24} {known.created}  {state}")


def revoke(name: Annotated[str, typer.Argument(help="As `privllm token list` shows it.")]) -> None:
    """Make an access token useless, at once."""
    from privllm.serve.auth import revoke_token
    from privllm.serve.database import People

    revoke_token(People(), name)


def export(
    dvc_add: Annotated[bool, typer.Option("--dvc-add", help="Run `dvc add` on these files afterwards, without asking.")] = False,
) -> None:
    """Append new ratings and votes to data/feedback/*.jsonl, each exactly once."""
    from privllm.serve.database import People
    from privllm.serve.feedback_export import FOLDER, export_feedback

    exported = export_feedback(People())
    for name, count in exported.items():
        say(f"{FOLDER / name}  {count} new")
    files = [str(FOLDER / name) for name in exported if (FOLDER / name).is_file()]
    if not files:
        return
    # The files, not their folder: git keeps that, since the build depends on it also where nobody has said anything yet.
    command = ["dvc", "add", *files]
    if dvc_add or (sys.stdin.isatty() and typer.confirm(f"Run `{' '.join(command)}`?", default=True)):
        raise typer.Exit(subprocess.run([sys.executable, "-m", *command], check=False).returncode)
    say(f"Keep them with the build: {' '.join(command)}")


def ranking() -> None:
    """Print how often each model would be preferred, by all votes so far, with 95 % intervals (Bradley-Terry)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from privllm.feedback.ranking import ranking as ranked
    from privllm.serve.database import People

    votes = People().votes()
    table = Table("model", "revision", "preferred", "95 %", "won", "tied", "lost", "both bad", title=f"{len(votes)} votes", box=None)
    for row in ranked(votes):
        shares = f"{row.share:.0%}", f"{row.low:.0%} to {row.high:.0%}"
        names = (Text(printable(name)) for name in (row.model.name, row.model.revision[:9]))
        table.add_row(*names, *shares, *map(str, (row.wins, row.ties, row.losses, row.both_bad)))
    Console().print(table)
