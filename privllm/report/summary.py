"""What a person wants to know when the build has ended, in a terminal of 80 columns or in a log.

Reads reports, the untracked log of durations, and the samples. It is for eyes: nothing in the build reads it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.printable import printable
from privllm.engine.pipeline import PIPELINE
from privllm.report.explanations import short
from privllm.report.funnel import Reports, funnel

SAMPLES = 2  # of each family
SAMPLE_CHARACTERS = 240
HEADLINES = (
    ("pretrain", "parameters", "parameters", short),
    ("evaluate", "perplexity", "held-out perplexity", lambda value: f"{value:,.2f}"),
    ("evaluate", "bits_per_byte", "held-out bits per byte", lambda value: f"{value:.3f}"),
)


def summary_table(reports: Path, log: Path, samples: Path | None = None) -> RenderableType:
    """Something rich prints: documents, figures, minutes, samples (below `samples`, data/evaluate), and where the page is.

    Raises UserError where `reports` is not a folder of reports: nothing was built there, or it is the wrong place.
    """
    if not any(reports.glob("**/*.json")):
        raise UserError(_no_reports(reports))
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(reports.glob("*.json"))}
    families = sorted(path.stem for path in reports.glob("evaluate/*.json"))
    by_family = {name: _of_family(reports, name) for name in families}
    parts: list[RenderableType] = [_documents(found), _figures(found, by_family), *_people(found, _read(reports / "align/causal.json"))]
    parts.append(_minutes(durations(log)))
    for path in [samples / family / "samples.json" for family in families if samples]:
        if path.is_file():
            parts += _samples(path.parent.name, json.loads(path.read_text("utf-8")))
    page = reports / "index.html"
    parts.append(Text.assemble(("report  ", "bold"), printable(str(page)) if page.is_file() else "not written yet: run `dvc repro`"))
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts[:-1]), parts[-1])


def _no_reports(reports: Path) -> str:
    if PIPELINE.is_file():
        return f"{reports} holds no report, so nothing was built here yet: `make run` builds (`dvc repro` without a demo)."
    return f"{reports} holds no report, and {Path.cwd()} is not the root of a build ({PIPELINE} is missing): go to the repository's folder."


def _of_family(reports: Path, name: str) -> Reports:
    paths = {stage: reports / stage / f"{name}.json" for stage in ("pretrain", "evaluate")}
    return {stage: found for stage, path in paths.items() if (found := _read(path))}


def _read(path: Path) -> Reports:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def durations(log: Path) -> dict[str, float]:
    """Seconds of each stage's last run, in the order in which they ended; a line that a crash cut short is passed over."""
    ended: dict[str, tuple[float, float]] = {}
    for line in log.read_text("utf-8").splitlines() if log.is_file() else []:
        try:
            entry = json.loads(line)
            ended[entry["stage"]] = float(entry["ended"]), float(entry["seconds"])
        except (ValueError, KeyError, TypeError):
            continue
    return {stage: seconds for stage, (_, seconds) in sorted(ended.items(), key=lambda item: (item[1][0], item[0]))}


def minutes(seconds: float) -> str:
    """12.3 s, 4 min 05 s."""
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 60 else f"{whole // 60} min {whole % 60:02d} s"


def _documents(reports: Reports) -> RenderableType:
    steps = funnel(reports)
    if not steps.steps:
        return Text("no documents were collected yet")
    table = _table("documents", "", "dropped on the way")
    for step in steps.steps:
        table.add_row(step.label, f"{step.count:,}", _text(", ".join(f"{loss.count:,} {loss.reason}" for loss in step.lost)))
    problems = [_text(problem, "bold red") for problem in steps.disagreements]
    return Group(table, *problems)


def _figures(reports: Mapping[str, Any], families: Mapping[str, Reports]) -> RenderableType:
    table = _table("figures", *(families or ("",)))
    tokens = (reports.get("pack") or {}).get("tokens")
    table.add_row("tokens to train on", "not yet" if tokens is None else short(tokens.get("train", 0)))
    for stage, key, label, form in HEADLINES:
        values = [found.get(stage, {}).get(key) for found in families.values()] or [None]
        table.add_row(label, *("not yet" if value is None else form(value) for value in values))
    return table


def _people(reports: Reports, aligned: Reports) -> list[RenderableType]:
    """What the model learnt from people, and whether it may replace the one in use; nothing of a build that did neither."""
    lines = []
    if aligned.get("aligned"):
        used = {kind: aligned["training"][kind]["used"] for kind in ("corrections", "preferences")}
        said = f"{used['corrections']:,} corrections and {used['preferences']:,} preferences of {aligned['people']:,} people"
        if found := aligned.get("preference_accuracy"):
            said += f"; agrees with {found['after']:.0%} of {found['judged']:,} kept back, before with {found['before']:.0%}"
        lines.append(Text.assemble(("learnt  ", "bold"), said))
    if (gate := reports.get("gate") or {}).get("incumbent"):
        verdict = "passed" if gate["passed"] else "FAILED, see reports/gate.json"
        lines.append(Text.assemble(("gate  ", "bold"), f"{verdict}, against {printable(gate['incumbent'])}"))
    return [Group(*lines)] if lines else []


def _minutes(seconds: Mapping[str, float]) -> RenderableType:
    if not seconds:
        return Text("no durations were logged")
    table = _table("stage", "last run took")
    for stage, taken in seconds.items():
        table.add_row(_text(stage), minutes(taken))
    if len(seconds) > 1:
        table.add_row("all", minutes(sum(seconds.values())), style="bold")
    return table


def _samples(family: str, found: Mapping[str, Any]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for number, sample in enumerate(found.get("samples", [])[:SAMPLES], start=1):
        prompt, text = (_one_line(sample.get(key, "")) for key in ("prompt", "text"))
        separator = "" if TRAITS[family].continues_text else " "
        shown.append(Text.assemble((f"{printable(family)} {number}  ", "bold"), (prompt, "dim"), separator, text))
    return shown


def _text(words: str, style: str = "") -> Text:
    """Names are families', tasks' and stages': no markup, and no character that a terminal would obey."""
    return Text(printable(words), style)


def _one_line(text: str) -> str:
    joined = printable(text.replace("\n", " ").replace("\t", " "))
    return joined if len(joined) <= SAMPLE_CHARACTERS else joined[: SAMPLE_CHARACTERS - 1] + "…"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    table.add_column(_text(first), no_wrap=True)
    for name in others:
        words = name == "dropped on the way"
        table.add_column(_text(name), justify="left" if words else "right", overflow="fold", style="dim" if words else "")
    return table
