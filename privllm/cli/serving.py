"""Commands that serve models: `privllm serve, arena, token`.

Each parses, calls one function of `privllm.serve`, and prints. Heavy imports stay inside the
commands.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privllm.cli import completion
from privllm.cli.command_groups import GROUP_OF
from privllm.cli.error_handling import Command, commands_of
from privllm.cli.help_screens import Group
from privllm.core.errors import UserError
from privllm.core.printable import say
from privllm.core.work_paths import PEOPLE_FILE
from privllm.engine.pipeline import PIPELINE, require_root
from privllm.serve.folders import gives_embeddings, require_model

if TYPE_CHECKING:
    from privllm.serve.callers import Callers
    from privllm.serve.database import Database

HOST, PORT = "127.0.0.1", 8000
Host = Annotated[
    str, typer.Option(help="The address to listen on; if other machines can reach it, access tokens are needed.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 selects a free port.")]
Batch = Annotated[
    int,
    typer.Option(min=1, max=1024, help="Replies generated at once; as many more, and at least 64, may wait."),
]
PublicUrl = Annotated[
    str, typer.Option(metavar="URL", help="The address that people use, where a proxy stands before this server.")
]
AllowHost = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Another name by which this server may be called.")
]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(metavar="URL", help="A web site whose pages may call the API (CORS): https://app.example.org."),
]

token = typer.Typer(cls=Group, no_args_is_help=True, help="Access tokens of the server.")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    groups: tuple[tuple[typer.Typer, str, tuple[Command, ...]], ...] = (
        (app, "privllm", (serve, arena)),
        (token, "privllm token", (new, list_, revoke)),
    )
    for group, prefix, functions in groups:
        for function in functions:
            commands_of(group, prefix)(function)
    app.add_typer(token, name="token", rich_help_panel=GROUP_OF["token"])


def _require_web_libraries() -> None:
    missing = [name for name in ("fastapi", "httpx", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} is not installed here: pip install 'privllm[serve]'.")


def people_database() -> "Database":
    """Return the database of tokens, ratings and votes, which lies where `privllm serve` runs.

    Raises UserError in a folder that neither is the root of a build nor has served anybody; nothing
    is created there.
    """
    if not PIPELINE.is_file() and not PEOPLE_FILE.is_file():
        reason = f"neither a build ({PIPELINE}) nor what a server has stored ({PEOPLE_FILE})"
        raise UserError(
            f"{Path.cwd()} holds {reason}: go to the repository's folder, or to where `privllm serve` runs."
        )
    from privllm.serve.database import Database

    return Database()


def _announce_loading(name: Path | str) -> None:
    """Print what is loaded, on stderr, before the slow import of torch."""
    say(f"loading {name} ...", err=True)


def _queue(batch: int) -> int:
    """Return how many replies may wait, beside `batch` that are generated."""
    return max(64, batch)


def serve(
    model: Annotated[
        Path,
        typer.Argument(
            help="An exported model's folder, or another causal model's; a masked or sentence-transformers model gives embeddings."
        ),
    ] = Path("data/export/causal"),
    engine: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Serve the model of this OpenAI-compatible server instead."),
    ] = None,
    revision: Annotated[
        str,
        typer.Option(
            help="Serve the model that this commit, tag (privllm@v1.1.0) or experiment exported.",
            autocompletion=completion.revisions,
        ),
    ] = "",
    host: Host = HOST,
    port: Port = PORT,
    batch: Batch = 32,
    public_url: PublicUrl = "",
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
) -> None:
    """Serve a model: a web page to chat, correct and rate, and an OpenAI-compatible API. Ctrl-C
    stops it."""
    _require_web_libraries()
    if not engine:
        if not revision:
            require_model(model)
        _announce_loading(revision or model)
    from privllm.serve.app import allowed_hosts, chat_app, listen
    from privllm.serve.callers import callers_of
    from privllm.serve.database import Database

    database = Database()
    callers = callers_of(allowed_hosts(host, database), allow_host or [], public_url, allow_origin or [])
    if engine:
        from privllm.serve.engine.remote import RemoteEngine

        app = chat_app(RemoteEngine(engine), database, callers)
    else:
        from privllm.serve.revisions import fetch_export

        commit, folder = fetch_export(revision) if revision else ("", model)
        if gives_embeddings(folder):
            _serve_embeddings(folder, batch, database, callers, host, port)
            return
        from privllm.serve.engine.local import LocalEngine

        app = chat_app(LocalEngine.open(folder, commit, batch, _queue(batch)), database, callers)
    listen(app, host, port, lambda url: say(f"{url}   (API: {url}v1)   Ctrl-C stops"))


def _serve_embeddings(folder: Path, batch: int, database: "Database", callers: "Callers", host: str, port: int) -> None:
    """Serve a model that reads texts and writes none: it has an API, and no page."""
    from privllm.serve.app import chat_app, listen
    from privllm.serve.engine.embedding import EmbeddingEngine

    app = chat_app(EmbeddingEngine.open(folder, "", batch, _queue(batch)), database, callers)
    listen(app, host, port, lambda url: say(f"{url}v1/embeddings   Ctrl-C stops"))


def arena(
    rev_a: Annotated[
        str,
        typer.Argument(
            help="A commit, branch, tag or experiment with an exported model.", autocompletion=completion.revisions
        ),
    ],
    rev_b: Annotated[str, typer.Argument(help="Another revision.", autocompletion=completion.revisions)],
    host: Host = HOST,
    port: Port = PORT,
    batch: Batch = 8,
    public_url: PublicUrl = "",
    allow_host: AllowHost = None,
) -> None:
    """Compare two revisions' models blindly: a web page shows two replies without names, and takes
    votes. Ctrl-C stops it."""
    require_root()
    _require_web_libraries()
    _announce_loading(f"{rev_a} and {rev_b}")
    from privllm.serve.app import allowed_hosts, arena_app, listen
    from privllm.serve.callers import callers_of
    from privllm.serve.database import Database
    from privllm.serve.engine.local import LocalEngine
    from privllm.serve.revisions import fetch_export

    database = Database()
    callers = callers_of(allowed_hosts(host, database), allow_host or [], public_url, [])
    engines = []
    for revision in (rev_a, rev_b):
        commit, folder = fetch_export(revision)
        engines.append(LocalEngine.open(folder, commit, batch, _queue(batch)))
    digests = {engine.served.model.digest for engine in engines}
    if len(digests) == 1:
        reason = "hold the same model (equal weights), so votes would say nothing: name two that differ"
        raise UserError(f"`{rev_a}` and `{rev_b}` {reason}.")
    listen(arena_app(engines, database, callers), host, port, lambda url: say(f"{url}   Ctrl-C stops"))


def new(
    name: Annotated[str, typer.Argument(help="Name of the token's owner; ratings are stored under it.")],
    requests_per_minute: Annotated[int, typer.Option(min=1, help="More are refused until a minute is over.")] = 120,
    tokens_per_minute: Annotated[int, typer.Option(min=1, help="Of the model: read and written.")] = 100_000,
) -> None:
    """Make an access token, and show it this once. From the first one on every call needs one."""
    database = people_database()
    from privllm.serve.auth import new_token

    say(new_token(database, name, requests_per_minute, tokens_per_minute))
    say("Keep it: only its hash is stored, so it cannot be shown again.", err=True)


def list_() -> None:
    """Show whose access tokens there are, and their limits."""
    tokens = people_database().tokens()
    if not tokens:
        say("There are no tokens yet: `privllm token new NAME` makes one.")
    for access in tokens:
        if access.revoked:
            state = f"revoked {access.revoked}"
        else:
            state = f"{access.requests_per_minute}/min, {access.tokens_per_minute} tokens/min"
        say(f"{access.name:<24} {access.created}  {state}")


def revoke(name: Annotated[str, typer.Argument(help="As `privllm token list` shows it.")]) -> None:
    """Make an access token useless, at once."""
    database = people_database()
    from privllm.serve.auth import revoke_token

    revoke_token(database, name)
