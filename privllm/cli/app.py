"""The command line, for people: what `dvc` does not do. It parses, calls one library function, and prints.

Building is DVC's (`dvc repro`, `dvc exp run`, `dvc metrics diff`). Heavy imports stay inside the commands, so that `--help` is quick.
"""

# ruff: noqa: E402
from privllm.engine.interrupt import explain_interrupts

explain_interrupts()  # before anything is imported that may not be installed

from pathlib import Path
from typing import Annotated

import typer

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.cli import predict, promotion, serving
from privllm.cli.error_handling import commands_of
from privllm.core.errors import UserError
from privllm.core.printable import never_fail_to_print, say, say_json
from privllm.engine.stage import LOG_FILE, explain
from privllm.serve.folders import require_model

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="privllm turns a folder of private documents into a private language model, as a build.\n\n"
    "Put files into data/sources, run `dvc repro`, then `privllm serve`.",
)


command = commands_of(app)


@app.callback()
def main() -> None:
    """Root command: it exists so that a single command keeps its name, and so that none fails for a letter that the terminal lacks."""
    never_fail_to_print()


@command
def demo(
    sources: Annotated[Path, typer.Option(help="The folder to fill.")] = Path("data/sources"),
    when_empty: Annotated[bool, typer.Option("--when-empty", help="Do nothing if the folder already holds documents.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take its pages and its tasks out again, before your own documents.")] = False,
) -> None:
    """Fill data/sources with a demo corpus: the Python standard library's documentation, rendered as HTML.

    The same bytes on every machine with the same Python; nothing is downloaded.
    """
    from privllm.collect.demo import build_demo
    from privllm.manage.remove_demo import remove_demo

    if remove:
        for line in remove_demo(Path(), sources).lines():
            say(line)
        return
    if when_empty and sources.is_dir() and any(sources.iterdir()):
        return
    pages = build_demo(sources)
    say(f"{pages} pages in {sources}")


@command
def plan(
    stage: Annotated[str | None, typer.Argument(help="Up to this stage; all of them otherwise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Say what `dvc repro` would run, why, and for about how long; nothing is run and nothing changed.

    "may run" waits for what a stage before it makes: DVC skips it where that comes out as it was.
    """
    from shutil import get_terminal_size

    from privllm.manage.plan import make_plan

    found = make_plan(stage)
    if as_json:
        say_json(found.as_json(), indent=1, default=str)
        return
    for line in found.lines(get_terminal_size((140, 24)).columns):
        say(line)


@command
def check(
    fix: Annotated[bool, typer.Option("--fix", help="Do what loses nothing: touch files, read the sources or the code again.")] = False,
) -> None:
    """Say what DVC cannot see, or cannot take, and the command that mends it; the exit code is 1 where there is something.

    Edits with equal size and time, edits that were saved while a stage ended, documents that were merged and not checked out, pipes,
    dangling links, names that are not UTF-8. `make run` does this first, and `privllm plan` says the same.
    """
    from privllm.engine.params_check import require_sound_params
    from privllm.engine.pipeline import PIPELINE
    from privllm.manage.check import find_problems, fix_problems

    if not PIPELINE.is_file():
        raise UserError("there is no build here: run this from the root of the repository.")
    require_sound_params()
    problems = find_problems()
    if not problems:
        say("Nothing hides from DVC.")
    for problem in problems:
        for line in problem.lines():
            say(line)
    if fix:
        problems = fix_problems(problems)
    if problems:
        raise typer.Exit(1)


@command
def summary(
    reports: Annotated[Path, typer.Option(help="The folder of the stages' reports.")] = Path("reports"),
    log: Annotated[Path, typer.Option(help="The untracked log of durations.")] = LOG_FILE,
    samples: Annotated[Path, typer.Option(help="Where the texts lie that the last models wrote.")] = Path("data/evaluate"),
) -> None:
    """Print what the last build did: documents, tokens, held-out figures, minutes per stage, samples."""
    from rich.console import Console

    from privllm.report.summary import summary_table

    Console().print(summary_table(reports, log, samples))


@command
def chat(
    model: Annotated[Path, typer.Argument(help="An exported model's folder, or another causal model's.")] = Path("data/export/causal"),
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 always takes the likeliest token.")] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Length of a reply at most.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed and words give the same reply.")] = 0,
) -> None:
    """Talk to the exported model in the terminal. Ctrl-C stops a reply, Ctrl-D leaves."""
    from privllm.serve.engine.base import Settings

    require_model(model)  # before torch is imported, which takes seconds
    from privllm.serve.terminal_chat import chat as talk

    talk(model, Settings(max_tokens=max_tokens, temperature=temperature, seed=seed))


@command
def audit(
    shards: Annotated[int, typer.Option(min=0, help="How many shards of each step to make again; 0 only compares what is there.")] = 8,
    seed: Annotated[int | None, typer.Option(help="Takes the same shards as another audit with this seed.")] = None,
) -> None:
    """Make random shards of every stage again, from nothing, and compare their bytes; the exit code is 1 where one differs.

    Every object that the last build took from the cache, and every file in data/ and reports/ that it left, is compared too.
    Nothing is changed, and nothing mended. Do not run it beside `dvc repro`.
    """
    from random import SystemRandom

    from privllm.manage.audit import audit as audited
    from privllm.manage.audit import table

    seed = SystemRandom().randrange(10**6) if seed is None else seed
    say(f"seed {seed}")
    faults = []
    for stage in audited(shards, seed):
        say(stage.line())
        faults += stage.faults
    if faults:
        for line in ("", *table(faults)):
            say(line)
        raise typer.Exit(1)


@command
def compare(
    rev_a: Annotated[str, typer.Argument(help="A commit, branch, tag or experiment; or `workspace`.")],
    rev_b: Annotated[str, typer.Argument(help="Another one: every difference is this one less the first.")] = "workspace",
    family: Annotated[str, typer.Option(help="Only the metrics of this family.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also the metrics that do not differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    fail_if: Annotated[list[str] | None, typer.Option(metavar="'METRIC OP NUMBER'", help="Of the difference; may be repeated.")] = None,
    fail_if_worse: Annotated[list[str] | None, typer.Option(metavar="METRIC", help="If its interval shows it; may be repeated.")] = None,
) -> None:
    """Compare two revisions: every metric, its difference, a 95 % interval over documents, and which is better.

    For CI: `--fail-if "bits_per_byte > 0.01"` or `--fail-if "evaluate/causal:bits_per_byte > 0.01"`. The exit code is 1 where that
    holds, and 2 where it cannot be told: a wrong expression, a metric or a revision that is not there.
    """
    from shutil import get_terminal_size

    from rich.console import Console

    from privllm.manage.compare import compare as compared
    from privllm.manage.compare_table import table
    from privllm.manage.fail_conditions import broken, parse

    try:
        conditions = [parse(expression) for expression in fail_if or []]
        found = compared(Path(), rev_a, rev_b, family)
        if as_json:
            say_json(found.plain(), indent=1)
        else:
            console = Console(width=max(140, get_terminal_size((140, 24)).columns), highlight=False)
            console.print(table(found, everything) if found.visible_rows(everything) else "No metric differs.")
            for line in ("", *found.notes):
                say(line)
        lines = broken(found, conditions, fail_if_worse or [])
    except UserError as error:
        explain(f"privllm compare: {error}")
        raise typer.Exit(2) from error
    for line in lines:
        say(f"FAILED  {line}", err=True)
    if lines:
        raise typer.Exit(1)


@command
def gc(
    keep: Annotated[str, typer.Option(help="How much may stay, such as 20GB, 500MB or 0.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped, and drop nothing.")] = False,
    project: Annotated[list[Path] | None, typer.Option(help="Another repository that shares the cache; may be repeated.")] = None,
) -> None:
    """Drop the shards that builds have not used for longest, until the rest fits.

    Whatever the workspace, a commit, a branch, a tag or an experiment refers to stays, however old, and so does every file in the
    cache that the store has not put there. A build that misses something makes it again, with the same bytes.
    """
    from privllm.manage.gc import collect_garbage

    for line in collect_garbage(keep, dry_run, project or []).lines(dry_run):
        say(line)


@command
def trace(
    name: Annotated[str, typer.Argument(metavar="ID|PATH", help="A path below data/sources (file, folder, notes.jsonl#12), or an id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Say where a document went: its way through the build, and which revisions' models were trained on it.

    Revisions are read from git and DVC's cache; "unknown" is one whose packed documents this cache lacks. Nothing is checked out.
    """
    from privllm.manage.trace import lines_of
    from privllm.manage.trace import trace as traced

    found = traced(Path(), name)
    if as_json:
        say_json(found.plain(), indent=1)
        return
    for line in lines_of(found):
        say(line)


@command
def forget(
    paths: Annotated[list[str], typer.Argument(help="Below data/sources: files, folders, lines of JSONL (notes.jsonl#12).")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    no_repro: Annotated[bool, typer.Option("--no-repro", help="Only remove; the same command without it builds and proves later.")] = False,
) -> None:
    """Remove documents from data/sources, build again, and prove that nothing of them is left; the exit code is 1 where it is.

    Their ids, digests and runs of 13 words, raw and cleaned, are searched in every output of the build. Then it names the revisions
    that still hold them, and the commands that purge those.
    """
    from privllm.manage.forget import ForgetOptions, confirm
    from privllm.manage.forget import forget as remove

    remove(Path(), paths, ForgetOptions(say, None if yes else confirm, not no_repro))


serving.add_to(app)
predict.add_to(app)
promotion.add_to(app)
