"""The command line. Each command parses, calls one library function, and prints.

Building is left to DVC (`dvc repro`, `dvc exp run`, `dvc metrics diff`). Heavy imports stay inside
the commands, so that `--help` is quick.
"""

# ruff: noqa: E402
import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends without a traceback until it can be explained

from privllm.engine.interrupt import explain_interrupts

explain_interrupts()  # before anything is imported that may not be installed

from pathlib import Path
from typing import Annotated

import typer

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.cli import (
    base,
    bundling,
    completion,
    doctor,
    feedback,
    fetching,
    handing_over,
    predict,
    projects,
    promotion,
    serving,
    showing,
    team,
)
from privllm.cli.command_groups import ORDER
from privllm.cli.error_handling import commands_of
from privllm.cli.help_screens import Group
from privllm.core.errors import UserError
from privllm.core.installed_version import installed_version
from privllm.core.printable import never_fail_to_print, say, say_json
from privllm.core.work_paths import LOG_FILE
from privllm.engine.pipeline import require_root
from privllm.engine.stage import FAILED, MISUSED, explain
from privllm.serve.folders import require_model

SOURCES = Path("data/sources")
app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="privllm turns a folder of private documents into a private language model, as a build.\n\n"
    "Put files into data/sources, run `dvc repro`, then `privllm serve`.",
    epilog="`privllm COMMAND --help` explains a command; docs/reference/commands.md has all of them, and the exit codes.",
)


command = commands_of(app)


def show_version(wanted: bool) -> None:
    """Print name and version, and leave."""
    if wanted:
        say(f"privllm {installed_version() or '(not installed)'}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Print without errors on any terminal. As the root command it also keeps a single command's name."""
    never_fail_to_print()


@command
def demo(
    sources: Annotated[Path, typer.Option(help="The folder to fill.")] = SOURCES,
    when_empty: Annotated[
        bool, typer.Option("--when-empty", help="Do nothing if the folder already holds documents.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove its pages and tasks, before your own documents.")
    ] = False,
) -> None:
    """Fill data/sources with a demo corpus: the Python standard library's documentation, rendered
    as HTML.

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
    if sources == SOURCES:
        require_root()
    pages = build_demo(sources)
    say(f"{pages} pages in {sources}")


@command
def plan(
    stage: Annotated[
        str | None, typer.Argument(help="Up to this stage; all of them otherwise.", autocompletion=completion.stages)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Say what `dvc repro` would run, why, for about how long and with how much memory; nothing is
    run and nothing changed.

    "may run" depends on the output of an earlier stage: DVC skips the stage where that output does
    not change.
    """
    from shutil import get_terminal_size

    from privllm.core.params import read_params
    from privllm.manage.plan import make_plan
    from privllm.manage.training_machine import training_machine
    from privllm.models.device_config import DevicesConfig
    from privllm.parameters.memory_needs import memory_notes, trainings
    from privllm.parameters.training_refusals import refusals

    build_plan = make_plan(stage)
    if trained := trainings(build_plan.to_run):
        machine = training_machine(read_params("train", DevicesConfig).accelerator)
        build_plan.notes.extend(refusals(trained, machine) or memory_notes(trained, machine))
    if as_json:
        say_json(build_plan.as_json(), indent=1, default=str)
        return
    columns = get_terminal_size((140, 24)).columns
    for line in build_plan.lines(columns):
        say(line)


@command
def params(
    section: Annotated[
        str,
        typer.Argument(help="A section or a dotted name, such as clean.quality.", autocompletion=completion.parameters),
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Those with their defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Suggest values for this corpus and machine, and write them.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="With --suggest: how long all families may train.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --suggest: write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --suggest: do not ask.")] = False,
) -> None:
    """List the parameters that params.yaml sets to another value than the default: value, default,
    line, unit and range.

    --suggest measures how fast this machine trains for some seconds, and proposes the model's shape,
    context, batch, epochs, learning rate, dropout and weight decay for the corpus, each with its reason.
    It writes them into params.yaml when you agree; the build reads that file alone.

    With --all, or for a section, every parameter is listed. `dvc exp run -S clean.quality.min_words=50`
    tries a value; a parameter that params.yaml does not have takes a + before its name.
    """
    from shutil import get_terminal_size

    from privllm.parameters.listing import list_parameters, rows_of

    if suggest:
        write_suggestions(minutes, dry_run, yes)
        return
    if minutes is not None or dry_run or yes:
        raise UserError("--minutes, --dry-run and --yes go with --suggest: add it, or leave them out.")
    parameters = list_parameters(section)
    if as_json:
        say_json([parameter._asdict() for parameter in parameters], indent=1)
        return
    width = get_terminal_size((140, 24)).columns
    for line in rows_of(parameters, width, everything or bool(section)):
        say(line)


def write_suggestions(minutes: float | None, dry_run: bool, yes: bool) -> None:
    """Print what is suggested, and write it into params.yaml where the user agrees."""
    from privllm.core.params import PARAMS_FILE
    from privllm.engine.params_check import require_sound_params
    from privllm.parameters.suggest import suggest

    require_root()
    require_sound_params(remember=False)
    suggestions = suggest(minutes)
    for line in suggestions.lines():
        say(line)
    if dry_run or suggestions.before == suggestions.after:
        return
    if yes or typer.confirm(f"\nWrite this into {PARAMS_FILE}?", default=False):
        PARAMS_FILE.write_text(suggestions.after, "utf-8")


@command
def check(
    fix: Annotated[
        bool, typer.Option("--fix", help="Apply the fixes that lose nothing, such as touching files.")
    ] = False,
) -> None:
    """Report what DVC cannot see or cannot handle, and the command that fixes it; the exit code is 1
    if there is something.

    Edits with equal size and time, edits that were saved while a stage ended, documents that were
    merged and not checked out, pipes, dangling links, names that are not UTF-8, files that are named
    like a library. `make run` does this first, and `privllm plan` says the same.
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
        raise typer.Exit(FAILED)


@command
def summary(
    reports: Annotated[Path, typer.Option(help="The folder of the stages' reports.")] = Path("reports"),
    log: Annotated[Path, typer.Option(help="The untracked log of durations.")] = LOG_FILE,
    samples: Annotated[Path, typer.Option(help="The folder of the texts that the last models wrote.")] = Path(
        "data/evaluate"
    ),
) -> None:
    """Print what the last build did: documents, tokens, held-out figures, minutes per stage,
    samples."""
    from rich.console import Console

    from privllm.report.summary import summary_table

    Console().print(summary_table(reports, log, samples))


@command
def chat(
    model: Annotated[Path, typer.Argument(help="An exported model's folder, or another causal model's.")] = Path(
        "data/export/causal"
    ),
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 always takes the likeliest token.")] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Maximum number of tokens of a reply.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed and messages give the same reply.")] = 0,
) -> None:
    """Talk to the exported model in the terminal. Ctrl-C stops a reply, Ctrl-D leaves."""
    from privllm.serve.engine.base import SamplingSettings

    require_model(model)  # before torch is imported, which takes seconds
    from privllm.serve.terminal_chat import chat as run_chat

    run_chat(model, SamplingSettings(max_tokens=max_tokens, temperature=temperature, seed=seed))


@command
def audit(
    shards: Annotated[
        int, typer.Option(min=0, help="Shards of each step to make again; 0 only compares what is there.")
    ] = 8,
    seed: Annotated[int | None, typer.Option(help="The same seed selects the same shards.")] = None,
) -> None:
    """Make random shards of every stage again, from nothing, and compare their bytes; the exit code
    is 1 where one differs.

    Every object that the last build took from the cache, and every file in data/ and reports/ that
    it left, is compared too. Nothing is changed, and nothing fixed. Do not run it beside
    `dvc repro`.
    """
    from random import SystemRandom

    from privllm.manage.audit import audit as audit_stages
    from privllm.manage.audit import table

    if seed is None:
        seed = SystemRandom().randrange(10**6)
    say(f"seed {seed}")
    faults = []
    for stage in audit_stages(shards, seed):
        say(stage.line())
        faults += stage.faults
    if faults:
        for line in ("", *table(faults)):
            say(line)
        raise typer.Exit(FAILED)


@command
def compare(
    rev_a: Annotated[
        str,
        typer.Argument(
            help="A commit, branch, tag or experiment; or `workspace`.", autocompletion=completion.revisions
        ),
    ],
    rev_b: Annotated[
        str,
        typer.Argument(
            help="Another revision; every difference is this one minus the first.",
            autocompletion=completion.revisions,
        ),
    ] = "workspace",
    family: Annotated[
        str, typer.Option(help="Only the metrics of this family.", autocompletion=completion.families)
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also the metrics that do not differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    fail_if: Annotated[
        list[str] | None, typer.Option(metavar="'METRIC OP NUMBER'", help="Fail if this holds; may be repeated.")
    ] = None,
    fail_if_worse: Annotated[
        list[str] | None, typer.Option(metavar="METRIC", help="Fail if it is worse; may be repeated.")
    ] = None,
) -> None:
    """Compare two revisions: every metric, its difference, a 95 % interval over documents, and
    which is better.

    For CI: `--fail-if "bits_per_byte_clean > 0.01"` or
    `--fail-if "evaluate/causal:bits_per_byte_clean > 0.01"`. The exit code is 1 where that holds, and 2
    where it cannot be decided: a wrong expression, or a metric or a revision that does not exist.
    """
    from shutil import get_terminal_size

    from rich.console import Console

    from privllm.manage.compare import compare as compare_revisions
    from privllm.manage.compare_table import table
    from privllm.manage.fail_conditions import broken, parse

    try:
        conditions = [parse(expression) for expression in fail_if or []]
        comparison = compare_revisions(Path(), rev_a, rev_b, family)
        if as_json:
            say_json(comparison.plain(), indent=1)
        else:
            columns = get_terminal_size((140, 24)).columns
            console = Console(width=max(140, columns), highlight=False)
            console.print(
                table(comparison, everything) if comparison.visible_rows(everything) else "No metric differs."
            )
            for line in ("", *comparison.notes):
                say(line)
        failures = broken(comparison, conditions, fail_if_worse or [])
    except UserError as error:
        explain(f"privllm compare: {error}")
        raise typer.Exit(MISUSED) from error
    for line in failures:
        say(f"FAILED  {line}", err=True)
    if failures:
        raise typer.Exit(FAILED)


@command
def gc(
    keep: Annotated[str, typer.Option(help="How much to keep, such as 20GB, 500MB or 0.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be dropped, and drop nothing.")] = False,
    project: Annotated[
        list[Path] | None, typer.Option(help="Another repository that shares the cache; may be repeated.")
    ] = None,
) -> None:
    """Drop the shards that builds have not used for longest, until the rest fits.

    Whatever the workspace, a commit, a branch, a tag or an experiment refers to stays, however old,
    and so does every file in the cache that the store has not put there. A build that misses
    something makes it again, with the same bytes.
    """
    from privllm.manage.gc import collect_garbage

    result = collect_garbage(keep, dry_run, project or [])
    for line in result.lines(dry_run):
        say(line)


@command
def trace(
    name: Annotated[
        str,
        typer.Argument(metavar="ID|PATH", help="A path below data/sources (file, folder, notes.jsonl#12), or an id."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Say where a document went: its way through the build, and which revisions' models were
    trained on it.

    Revisions are read from git and DVC's cache; "unknown" is one whose packed documents this cache
    lacks. Nothing is checked out.
    """
    from privllm.manage.trace import lines_of
    from privllm.manage.trace import trace as trace_documents

    require_root()
    result = trace_documents(Path(), name)
    if as_json:
        say_json(result.plain(), indent=1)
        return
    for line in lines_of(result):
        say(line)


@command
def forget(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Below data/sources: files, folders, lines (notes.jsonl#12), mails, rows, members (a.zip#b.txt)."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    no_repro: Annotated[
        bool, typer.Option("--no-repro", help="Only remove; build and prove later, without this option.")
    ] = False,
) -> None:
    """Remove documents from data/sources, build again, and prove that nothing of them is left; the
    exit code is 1 where it is.

    Their ids, digests and runs of 13 words, raw and cleaned, are searched in every output of the
    build. Then it names the revisions that still hold them, and the commands that purge those.
    """
    from privllm.manage.forget import ForgetOptions, confirm
    from privllm.manage.forget import forget as forget_documents

    require_root()
    options = ForgetOptions(say, None if yes else confirm, not no_repro)
    forget_documents(Path(), paths, options)


projects.add_to(app)
doctor.add_to(app)
fetching.add_to(app)
showing.add_to(app)
team.add_to(app)
bundling.add_to(app)
serving.add_to(app)
feedback.add_to(app)
predict.add_to(app)
promotion.add_to(app)
handing_over.add_to(app)
base.add_to(app)
app.registered_groups.sort(key=lambda registered: ORDER.index(registered.name or ""))
app.registered_commands.sort(key=lambda registered: ORDER.index(registered.name or ""))
