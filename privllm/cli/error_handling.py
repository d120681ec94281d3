"""Registration of commands: errors become one paragraph on stderr and an exit code."""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.cli import help_screens
from privllm.cli.command_groups import GROUP_OF
from privllm.engine.stage import call

ROOT_COMMAND = "privllm"
Command = Callable[..., None]


def commands_of(app: typer.Typer, prefix: str = ROOT_COMMAND) -> Callable[[Command], Command]:
    """Return a decorator that registers a function as a command, named without a trailing "_"."""

    def command(function: Command) -> Command:
        name = function.__name__.rstrip("_")

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            code = call(lambda: function(*args, **kwargs), f"{prefix} {name}")
            if code:
                sys.exit(code)

        panel = GROUP_OF[name] if prefix == ROOT_COMMAND else None
        register = app.command(name, cls=help_screens.Command, help=help_text(function), rich_help_panel=panel)
        return register(guarded)

    return command


def help_text(function: Command) -> str:
    """Return a function's docstring with each paragraph on one line, so that it fits any terminal."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
