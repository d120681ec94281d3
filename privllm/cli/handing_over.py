"""The command `privllm export gguf`, which hands a model over to llama.cpp and Ollama with `export.gguf`.

It parses, calls one function, and prints.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.command_groups import GROUP_OF
from privllm.cli.error_handling import commands_of
from privllm.cli.help_screens import Group
from privllm.core.printable import say
from privllm.serve.folders import require_model

export = typer.Typer(cls=Group, no_args_is_help=True, help="Models as files of other programs.")


class MatrixType(StrEnum):
    """What the numbers of a matrix become."""

    f16 = "f16"
    q8_0 = "q8_0"
    q4_0 = "q4_0"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    commands_of(export, "privllm export")(gguf)
    app.add_typer(export, name="export", rich_help_panel=GROUP_OF["export"])


def gguf(
    folder: Annotated[Path, typer.Argument(help="An exported model's folder, or another causal model's.")] = Path(
        "data/export/causal"
    ),
    type_: Annotated[
        MatrixType, typer.Option("--type", help="f16: 16 bits a number; q8_0: 8.5; q4_0: 4.5, and worse.")
    ] = MatrixType.q8_0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, or a folder for NAME-TYPE.gguf; this folder otherwise.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a causal model as one GGUF file, which llama.cpp, Ollama and LM Studio run, and a Modelfile beside it.

    The file holds the weights, the tokenizer and the chat template, and the same model gives the same bytes.
    `llama-server -m FILE` serves it, and `ollama create NAME -f MODELFILE` takes it in. A build writes it
    into data/export by itself where `export.gguf` in params.yaml names types.
    """
    require_model(folder)  # before torch is imported, which takes seconds
    from privllm.export.folder import file_name, name_of
    from privllm.export.gguf import write_gguf

    name = name_of(folder)
    usual = file_name(name, type_.value)
    target = out or Path(usual)
    if target.is_dir():
        target /= usual
    written = write_gguf(folder, type_.value, target, name)
    for note in written.notes:
        say(note)
    say(f"{target}  {written.bytes / 1e6:,.1f} MB, {written.parameters:,} parameters as {type_.value}")
    say(f"Run it: `llama-cli -m {target}`, or `ollama create {target.stem} -f {target.with_suffix('.Modelfile')}`.")
