"""How a command is registered: its errors are one paragraph, and its exit code says so. It knows no command."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.engine.stage import call

Command = Callable[..., None]


def commands_of(app: typer.Typer, prefix: str = "privllm") -> Callable[[Command], Command]:
    """The decorator that makes a function a command of `app`, by its own name ("_" at its end left out)."""

    def command(function: Command) -> Command:
        name = function.__name__.rstrip("_")

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            if code := call(lambda: function(*args, **kwargs), f"{prefix} {name}"):
                sys.exit(code)

        return app.command(name)(guarded)

    return command
