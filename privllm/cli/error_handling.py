"""Registration of commands: errors become one paragraph on stderr and an exit code."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.engine.stage import call

Command = Callable[..., None]


def commands_of(app: typer.Typer, prefix: str = "privllm") -> Callable[[Command], Command]:
    """Return a decorator that registers a function as a command, named without a trailing "_"."""

    def command(function: Command) -> Command:
        name = function.__name__.rstrip("_")

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            code = call(lambda: function(*args, **kwargs), f"{prefix} {name}")
            if code:
                sys.exit(code)

        return app.command(name)(guarded)

    return command
