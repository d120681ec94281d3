"""Terminal summary of the last build, for 80 columns or a log.

Reads reports, the untracked log of durations, and the samples. Nothing in the build depends on it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.printable import printable
from privllm.core.vocabulary_fit import misfit
from privllm.engine.pipeline import PIPELINE
from privllm.report.baselines import baseline_rows, worse_than_xz
from privllm.report.explanations import short
from privllm.report.funnel import Reports, funnel
from privllm.report.held_out import base_line, held_out_lines, judged, risk_lines
from privllm.report.tasks_table import tasks_table

HELD_OUT = ("test", "validation")
SAMPLES = 2  # of each family
SAMPLE_CHARACTERS = 240
HEADLINES = (
    ("pretrain", "parameters", "parameters", short),
    ("evaluate", "perplexity", "held-out perplexity", lambda value: f"{value:,.2f}"),
)


def summary_table(reports: Path, log: Path, samples: Path | None = None) -> RenderableType:
    """Return documents, figures, minutes, samples and the page's path, for rich to print.

    samples: data/evaluate. Raises UserError where `reports` is not a folder of reports: nothing was built
    there, or it is the wrong folder.
    """
    if not any(reports.glob("**/*.json")):
        raise UserError(_no_reports(reports))
    shared = {path.stem: _read(path) for path in sorted(reports.glob("*.json"))}
    families = sorted(path.stem for path in reports.glob("evaluate/*.json"))
    by_family = {name: _family_reports(reports, name) for name in families}
    words = misfit(shared.get("tokenizer") or {})
    sections: list[RenderableType] = [
        _documents(shared),
        _figures(shared, by_family),
        *([Text.assemble(("vocabulary  ", "bold red"), words)] if words else []),
        *_held_out(by_family),
        *_tasks(reports / "finetune"),
        *_people(shared, _read(reports / "align/causal.json")),
        _minutes(durations(log)),
    ]
    if samples:
        for family in families:
            sections += _samples(family, _read(samples / family / "samples.json"))
    spaced = [Padding(section, (0, 0, 1, 0)) for section in sections]
    return Group(*spaced, _page_line(reports / "index.html"))


def _page_line(page: Path) -> Text:
    path = printable(str(page)) if page.is_file() else "not written yet: run `dvc repro`"
    return Text.assemble(("report  ", "bold"), path)


def _no_reports(reports: Path) -> str:
    if PIPELINE.is_file():
        command = "`dvc repro` builds (in a clone `make run`, with a demo)"
        return f"{reports} has no reports, so nothing was built here yet: {command}."
    place = f"{Path.cwd()} is not the root of a build ({PIPELINE} is missing)"
    return f"{reports} has no reports, and {place}: go to the repository's folder."


def _family_reports(reports: Path, name: str) -> Reports:
    """Read the reports of one family, {stage: report}."""
    by_stage = {}
    for stage in ("pretrain", "evaluate"):
        report = _read(reports / stage / f"{name}.json")
        if report:
            by_stage[stage] = report
    return by_stage


def _read(path: Path) -> Reports:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def durations(log: Path) -> dict[str, float]:
    """Return the seconds of each stage's last run, in the order in which they ended.

    A line that a crash cut short is skipped.
    """
    last_runs: dict[str, tuple[float, float]] = {}  # when the run ended, and its seconds
    for line in log.read_text("utf-8").splitlines() if log.is_file() else []:
        try:
            entry = json.loads(line)
            last_runs[entry["stage"]] = float(entry["ended"]), float(entry["seconds"])
        except (ValueError, KeyError, TypeError):
            continue
    by_end = sorted(last_runs.items(), key=lambda item: (item[1][0], item[0]))
    return {stage: seconds for stage, (_, seconds) in by_end}


def minutes(seconds: float) -> str:
    """Format a duration: 12.3 s, 4 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole_minutes, whole_seconds = divmod(round(seconds), 60)
    return f"{whole_minutes} min {whole_seconds:02d} s"


def _documents(reports: Reports) -> RenderableType:
    steps = funnel(reports)
    if not steps.steps:
        return Text("no documents were collected yet")
    table = _table("documents", "", "dropped on the way")
    for step in steps.steps:
        losses = ", ".join(f"{loss.count:,} {loss.reason}" for loss in step.lost)
        table.add_row(step.label, f"{step.count:,}", _text(losses))
    problems = [_text(problem, "bold red") for problem in steps.disagreements]
    return Group(table, *problems)


def _figures(reports: Reports, families: Mapping[str, Reports]) -> RenderableType:
    table = _table("figures", *(families or ("",)))
    tokens = (reports.get("pack") or {}).get("tokens")
    table.add_row("tokens to train on", "not yet" if tokens is None else short(tokens.get("train", 0)))
    for stage, key, label, form in HEADLINES:
        values = [judged(family_reports.get(stage, {})).get(key) for family_reports in families.values()] or [None]
        table.add_row(label, *("not yet" if value is None else form(value) for value in values))
    evaluations = {name: family_reports.get("evaluate", {}) for name, family_reports in families.items()}
    warnings = [worse_than_xz(name, evaluation) for name, evaluation in evaluations.items()]
    return Group(table, *(_text(warning, "bold red") for warning in warnings if warning))


def _held_out(families: Mapping[str, Reports]) -> list[RenderableType]:
    """Return the held-out figures of each family with their intervals, a column for each split, and what compressors need."""
    table = _table("held-out bits per byte (95 %)", *HELD_OUT)
    counts: dict[str, tuple[int, int]] = {}  # of a split: documents judged, documents left out
    for name, reports in families.items():
        lines = held_out_lines(reports.get("evaluate") or {})
        for is_clean in (False, True):
            cells = {line.split: f"{line.value:.3f} ({line.interval})" for line in lines if line.is_clean == is_clean}
            kind = lines[0].label.partition("bits per byte")[0] if lines else ""  # "pseudo ", of masked ones
            label = "  not copied from training" if is_clean else f"{name} {kind}".rstrip()
            if cells:
                table.add_row(_text(label), *(cells.get(split, "") for split in HELD_OUT))
        counts |= {line.split: (line.documents, line.left_out) for line in lines if not line.is_clean}
    for reports in families.values():
        if begun := base_line(reports.get("evaluate") or {}):
            table.add_row(_text(f"  {begun.label}"), begun.text)
        for line in risk_lines(reports.get("evaluate") or {}):
            table.add_row(_text(f"  {line.label}"), line.text)
    for label, bits in baseline_rows([reports.get("evaluate") or {} for reports in families.values()]):
        values = [f"{value:.3f}" for value in bits if value is not None]
        table.add_row(_text(label), values[0], style="dim")
    for row, label in enumerate(("documents", "left out (trained on before)")):
        if any(count[row] for count in counts.values()):
            table.add_row(_text(label), *(f"{counts[split][row]:,}" if split in counts else "" for split in HELD_OUT))
    return [table] if table.row_count else []


def _tasks(folder: Path) -> list[RenderableType]:
    """Return each tuned model's score with the baselines' below it, and a sentence of who is stronger."""
    table = _table("tasks", "score", "value")
    sentences = []
    for row in tasks_table(folder):
        if not row.get("judged_by"):
            continue
        table.add_row(_text(row["task"]), _text(row["judged_by"]), f"{row['model']:.3f}")
        for name, value in row["beside"]:
            table.add_row(_text(f"  {name}"), "", f"{value:.3f}", style="dim")
        style = "" if row["beaten"] else "bold red"
        sentences.append(Text.assemble((f"{printable(row['task'])}  ", style), printable(" ".join(row["sentences"]))))
    return [Group(table, *sentences)] if sentences else []


def _people(reports: Reports, aligned: Reports) -> list[RenderableType]:
    """Return what the model learnt from people, and the gate's verdict, as far as there are any."""
    lines = []
    if aligned.get("aligned"):
        lines.append(Text.assemble(("learnt  ", "bold"), _learnt(aligned)))
    gate = reports.get("gate") or {}
    if gate.get("incumbent"):
        verdict = "passed" if gate["passed"] else "FAILED, see reports/gate.json"
        lines.append(Text.assemble(("gate  ", "bold"), f"{verdict}, against {printable(gate['incumbent'])}"))
    return [Group(*lines)] if lines else []


def _learnt(aligned: Mapping[str, Any]) -> str:
    """Return a sentence about the feedback that the model was aligned with."""
    corrections = aligned["training"]["corrections"]["used"]
    preferences = aligned["training"]["preferences"]["used"]
    sentence = f"{corrections:,} corrections and {preferences:,} preferences of {aligned['people']:,} people"
    accuracy = aligned.get("preference_accuracy")
    if accuracy:
        sentence += f"; agrees with {accuracy['after']:.0%} of {accuracy['judged']:,} held-out ones"
        sentence += f", before with {accuracy['before']:.0%}"
    return sentence


def _minutes(seconds_by_stage: Mapping[str, float]) -> RenderableType:
    if not seconds_by_stage:
        return Text("no durations were logged")
    table = _table("stage", "last run took")
    for stage, seconds in seconds_by_stage.items():
        table.add_row(_text(stage), minutes(seconds))
    if len(seconds_by_stage) > 1:
        table.add_row("all", minutes(sum(seconds_by_stage.values())), style="bold")
    return table


def _samples(family: str, report: Mapping[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for number, sample in enumerate(report.get("samples", [])[:SAMPLES], start=1):
        prompt, text = _one_line(sample.get("prompt", "")), _one_line(sample.get("text", ""))
        label = f"{printable(family)} {number}  "
        is_continuation = family in TRAITS and TRAITS[family].continues_text
        separator = "" if is_continuation else " "  # a continuation begins with its own space
        lines.append(Text.assemble((label, "bold"), (prompt, "dim"), separator, text))
    return lines


def _text(words: str, style: str = "") -> Text:
    """Return text without markup and control characters: people name families, tasks and stages."""
    return Text(printable(words), style)


def _one_line(text: str) -> str:
    joined = printable(text.replace("\n", " ").replace("\t", " "))
    return joined if len(joined) <= SAMPLE_CHARACTERS else joined[: SAMPLE_CHARACTERS - 1] + "…"


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    table.add_column(_text(title), no_wrap=True)
    for name in columns:
        is_text = name == "dropped on the way"
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(_text(name), justify=justify, overflow="fold", style="dim" if is_text else "")
    return table
