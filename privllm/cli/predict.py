"""The command `privllm predict`, which applies a tuned model with `train.predict_lines`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from privllm.cli import completion
from privllm.cli.error_handling import commands_of
from privllm.core.errors import UserError
from privllm.core.printable import say_json
from privllm.engine.pipeline import require_root

FOLDER = Path("data/finetune")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    commands_of(app)(predict)


def predict(
    task: Annotated[
        str,
        typer.Argument(
            help="A task below finetune.tasks in params.yaml that was built, or a tuned model's folder.",
            autocompletion=completion.tasks,
        ),
    ],
    file: Annotated[
        Path | None, typer.Argument(help="JSON lines; without it they are read from standard input.")
    ] = None,
) -> None:
    """Apply a tuned model: JSON lines in, one JSON line out for each, in their order.

    Lines look like privllm's own of the task's kind, without the answer, and may have an "id", which
    comes back:

    {"text": "..."} gives {"label": "...", "probability": 0.93}

    {"tokens": ["Ada", "wrote"]} gives {"spans": [{"start": 0, "end": 1, "type": "PER", "text":
    "Ada", "probability": 0.88}]}

    {"input": "..."} gives {"text": "..."}, and so does {"messages": [{"role": "user", "content":
    "..."}]}

    "cut": true is added where an input was longer than the model sees.
    """
    if "/" not in task:
        require_root()  # before torch is imported, which takes seconds
    from privllm.tasks.unlabelled import read_inputs
    from privllm.train.predict_lines import answers, open_tuned

    folder = Path(task) if "/" in task else FOLDER / task
    tuned = open_tuned(folder)
    if file is not None and not file.is_file():
        raise UserError(f"{file} is no file: name one of JSON lines, or pipe them in.")
    name = "standard input" if file is None else str(file)
    with sys.stdin.buffer if file is None else file.open("rb") as source:
        inputs = read_inputs(source, name, tuned.kind)
        for line in answers(tuned, inputs):
            say_json(line)
