"""The command line, for people: what `dvc` does not do. It parses, calls one library function, and prints.

Building is DVC's (`dvc repro`, `dvc exp run`, `dvc metrics diff`). Heavy imports stay inside the commands, so that `--help` is quick.
"""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.core.stage import LOG_FILE, call

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="privllm turns a folder of private documents into a private language model, as a build.\n\n"
    "Put files into data/sources, run `dvc repro`, then `privllm chat`.",
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors are one paragraph and whose exit code says so."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        if code := call(lambda: function(*args, **kwargs), f"privllm {function.__name__}"):
            sys.exit(code)

    return app.command()(guarded)


@app.callback()
def main() -> None:
    """Root command: it exists so that a single command keeps its name."""


@command
def demo(
    sources: Annotated[Path, typer.Option(help="The folder to fill.")] = Path("data/sources"),
    when_empty: Annotated[bool, typer.Option("--when-empty", help="Do nothing if the folder already holds documents.")] = False,
) -> None:
    """Fill data/sources with a demo corpus: the Python standard library's documentation, rendered as HTML.

    The same bytes on every machine with the same Python; nothing is downloaded.
    """
    from privllm.collect.demo import build_demo

    if when_empty and sources.is_dir() and any(sources.iterdir()):
        return
    pages = build_demo(sources)
    typer.echo(f"{pages} pages in {sources}")


@command
def summary(
    reports: Annotated[Path, typer.Option(help="The folder of the stages' reports.")] = Path("reports"),
    log: Annotated[Path, typer.Option(help="The untracked log of durations.")] = LOG_FILE,
    samples: Annotated[Path, typer.Option(help="The texts that the last model wrote.")] = Path("data/evaluate/samples.json"),
) -> None:
    """Print what the last build did: documents, tokens, held-out figures, minutes per stage, samples."""
    from rich.console import Console

    from privllm.report.summary import summary_table

    Console().print(summary_table(reports, log, samples))


@command
def chat(
    model: Annotated[Path, typer.Argument(help="An exported model's folder.")] = Path("data/export"),
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 always takes the likeliest token.")] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Length of a reply at most.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed and words give the same reply.")] = 0,
) -> None:
    """Talk to the exported model in the terminal. Ctrl-C stops a reply, Ctrl-D leaves."""
    from privllm.model.generate import SamplingConfig
    from privllm.serve.chat import chat as talk

    talk(model, SamplingConfig(max_new_tokens=max_tokens, temperature=temperature, seed=seed))


if __name__ == "__main__":
    app()
