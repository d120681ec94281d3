"""HTML report of the build: the stages' reports in, `index.html` out.

The page is self-contained (styles, charts as SVG): no script, no request, nothing that changes from run
to run. It computes no results of its own, and says where a stage left no report.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.report import write_whole
from privllm.core.seed import digest
from privllm.core.split import SPLITS
from privllm.report import charts
from privllm.report.baselines import baseline_rows, learnt_text, worse_than_xz
from privllm.report.explanations import Fact, facts
from privllm.report.funnel import funnel
from privllm.report.held_out import BITS, bits_name, held_out_lines, judged, risk_lines, spoken
from privllm.report.page_environment import page_environment
from privllm.report.revision import alignments, begins_elsewhere, feedback_rows, gate_rows, start_rows
from privllm.report.sources import STEPS, reasons, source_lines
from privllm.report.tasks_table import tasks_table

TEMPLATE = "template.html.j2"
FEW_TOKENS = 50  # a slice smaller than this is in the table, not in the chart
MAX_BARS = 14
# stages with one report, and those with one for each family
SHARED = ("collect", "clean", "dedup", "validate", "annotate", "tokenizer", "pack", "start", "feedback", "gate")
OWN = ("pretrain", "align", "evaluate", "export")
# kind of slice -> its title, the metric of its chart, and the number format
SLICES = {
    "pos": ("part of speech", "accuracy", ".0%"),
    "source": ("source", BITS, ".2f"),
    "length": ("length", BITS, ".2f"),
    "entity": ("entity", "accuracy", ".0%"),
    "media_type": ("kind of file", BITS, ".2f"),
}
# stage, key, label of the table that compares the families
COMPARED = (
    ("pretrain", "parameters", "Parameters"),
    ("pretrain", "tokens", "Tokens seen"),
    ("pretrain", "labels", "Tokens learnt to predict"),
    ("pretrain", "validation_loss", "Validation loss"),
    ("evaluate", "tokens", "Test tokens scored"),
    ("evaluate", "loss", "Test loss (nats a token)"),
    ("evaluate", "perplexity", "Test perplexity"),
    ("evaluate", "bits_per_byte", "Test bits per byte"),
    ("evaluate", "bits_per_byte_clean", "Test bits per byte, not copied from training"),
    ("evaluate", "pseudo_bits", "Test pseudo-bits per byte"),
    ("evaluate", "pseudo_bits_clean", "Test pseudo-bits per byte, not copied"),
    ("evaluate", "denoising_bits", "Test denoising bits per byte"),
    ("evaluate", "denoising_bits_clean", "Test denoising bits per byte, not copied"),
    ("evaluate", "accuracy", "Test token accuracy"),
    ("evaluate", "bleu", "BLEU of continuations"),
    ("evaluate", "chrf", "chrF of continuations"),
)


@dataclass(frozen=True)
class ReportInputs:
    """Paths of the page's numbers; the page says what is absent."""

    # <stage>.json, <stage>/<family>.json, and pretrain/<family>/ with plots/metrics/{train,validation}/loss.tsv
    reports: Path
    families: tuple[str, ...] = ()
    documents: tuple[Path, Path, Path] | None = None  # data/{collect, clean, dedup}: what became of each source
    evaluation: Path | None = None  # folder with <family>/samples.json
    fingerprints: tuple[Path, ...] = ()  # data/fingerprint/<stage>.json
    params: Mapping[str, Any] = field(default_factory=dict)  # sections of params.yaml
    descriptions: Mapping[str, str] = field(default_factory=dict)  # of families, a sentence each


def render_report(inputs: ReportInputs, out: Path) -> None:
    """Write the page to `out`. Raises UserError for a report that is not JSON."""
    reports = _read_reports({stage: inputs.reports / f"{stage}.json" for stage in SHARED})
    families = [_family(inputs, name) for name in inputs.families]
    evaluations = [family["reports"].get("evaluate", {}) for family in families]
    warnings = [worse_than_xz(family["name"], report) for family, report in zip(families, evaluations, strict=True)]
    first_family = families[0]["reports"] if families else {}
    page = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            reports=reports,
            tasks=tasks_table(inputs.reports / "finetune"),
            funnel=funnel(reports),
            steps=STEPS,
            sources=source_lines(*inputs.documents) if inputs.documents else [],
            reasons=reasons(*inputs.documents) if inputs.documents else [],
            starts=start_rows(reports.get("start", {})),
            begins_elsewhere=begins_elsewhere(reports.get("start", {})),
            feedback=feedback_rows(reports.get("feedback", {})),
            alignments=alignments({family["name"]: family["reports"].get("align", {}) for family in families}),
            gate=reports.get("gate"),
            gate_rows=gate_rows(reports.get("gate", {})),
            facts=facts(reports),
            tiles=_headlines(facts(reports | first_family)),
            splits=_splits(reports.get("pack")),
            families=families,
            compared=[row for row in COMPARED if _is_measured(families, stage=row[0], key=row[1])],
            baselines=baseline_rows(evaluations),
            learnt_text=learnt_text(evaluations),
            worse_than_xz=[warning for warning in warnings if warning],
            provenance=_provenance(inputs, families),
        )
    )
    write_whole(out, page)


def _environment() -> Environment:
    environment = page_environment(Path(__file__).parent)
    environment.filters |= {
        "count": show_count,
        "number": show_number,
        "percent": lambda share: f"{share:.1%}",
        "fixed": lambda value: f"{value:.2f}",
        "size": show_size,
    }
    return environment


def _read_reports(paths: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Read the reports that exist, {stage: report}."""
    return {stage: read_object(path) for stage, path in paths.items() if path.is_file()}


def _headlines(stage_facts: Mapping[str, Sequence[Fact]]) -> list[Fact]:
    headlines: list[Fact] = []
    for all_facts in stage_facts.values():
        headlines += [fact for fact in all_facts if fact.headline]
    return headlines


def _is_measured(families: Sequence[Mapping[str, Any]], stage: str, key: str) -> bool:
    """Return whether any family's report has a figure."""
    return any(key in family["reports"].get(stage, {}) for family in families)


def _family(inputs: ReportInputs, name: str) -> dict[str, Any]:
    """Return everything that the page shows of one family."""
    reports = _read_reports({stage: inputs.reports / stage / f"{name}.json" for stage in OWN})
    evaluation = reports.get("evaluate", {})
    if evaluation:
        reports["evaluate"] = judged(evaluation)
    weak_spots = evaluation.get("weak_spots", ())
    return {
        "name": name,
        "what": inputs.descriptions.get(name, name),
        "continues_text": TRAITS[name].continues_text,
        "reports": reports,
        "facts": facts(reports),
        "loss": _loss(inputs.reports / "pretrain" / name, reports.get("pretrain")),
        "held_out": held_out_lines(evaluation),
        "risks": risk_lines(evaluation),
        "slices": _slices(evaluation),
        "spots": [spot | {"title": SLICES[spot["kind"]][0]} for spot in weak_spots],
        "samples": _samples(inputs.evaluation / name if inputs.evaluation else None),
    }


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file. Raises UserError for anything else."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and run `dvc repro` to rewrite it.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold a JSON object: delete it and run `dvc repro` to rewrite it.")
    return value


def show_count(value: float) -> str:
    """Format a whole number with thousands separators: 1,234."""
    return f"{value:,.0f}"


def show_size(size: float) -> str:
    """Format bytes: 512 B, 3.4 kB, 120 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def show_number(value: Any) -> str:
    """Format any value of a report or of params.yaml: whole numbers in full, others to four digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(show_number, value))
    return str(value)


def _splits(pack: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return documents, tokens, rows and bytes of each split."""
    if pack is None:
        return []
    splits = []
    for split in SPLITS:
        row: dict[str, Any] = {"name": split}
        for column in ("documents", "tokens", "rows", "bytes"):
            row[column] = int((pack.get(column) or {}).get(split, 0))
        splits.append(row)
    return splits


def _loss(folder: Path, pretrain: Mapping[str, Any] | None) -> str | None:
    """Return the chart of the training and validation loss; None without curves."""
    plots = folder / "plots" / "metrics"
    train = charts.read_curve(plots / "train" / "loss.tsv")
    validation = charts.read_curve(plots / "validation" / "loss.tsv")
    if not train and not validation:
        return None
    steps, tokens = (pretrain or {}).get("steps"), (pretrain or {}).get("tokens")
    return charts.loss_chart(train, validation, tokens / steps if steps and tokens else None)


def _slices(evaluate: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return table and chart of each way of slicing the held-out text; no chart for fewer than two bars."""
    slices = []
    for kind, (title, metric, number_format) in SLICES.items():
        key = f"by_{kind}"
        values = (evaluate or {}).get(key) or {}
        if not values:
            continue
        bits = bits_name(next(iter(values.values())))
        if metric == BITS:
            metric = bits
        rows = sorted(values.items(), key=lambda item: (-item[1].get("tokens", 0), item[0]))
        bars = {name: row[metric] for name, row in rows[:MAX_BARS] if _has_bar(name, row, metric)}
        longest_first = dict(sorted(bars.items(), key=lambda bar: -bar[1]))
        label = spoken(bits) if metric == bits else metric
        chart = None
        if len(bars) > 1:
            chart = charts.bar_chart(longest_first, label, number_format)
        slices.append(
            {"title": title, "rows": rows, "chart": chart, "metric": label, "bits": bits, "bits_label": spoken(bits)}
        )
    return slices


def _has_bar(name: str, row: Mapping[str, Any], metric: str) -> bool:
    """Return whether a slice is large enough for the chart."""
    return row.get("tokens", 0) >= FEW_TOKENS and metric in row and name != "unannotated"


def _samples(folder: Path | None) -> dict[str, Any] | None:
    path = folder / "samples.json" if folder else None
    return read_object(path) if path and path.is_file() else None


def _provenance(inputs: ReportInputs, families: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters, and the digests of code and data, that decide the page's numbers."""
    params = []
    for section, values in inputs.params.items():
        params += [(f"{section}.{key}", value) for key, value in flatten(values)]
    fingerprints = [_fingerprint(path) for path in sorted(inputs.fingerprints) if path.is_file()]
    return {"params": params, "fingerprints": fingerprints, "digests": _digests(families)}


def _fingerprint(path: Path) -> dict[str, Any]:
    fingerprint = read_object(path)
    return {
        "stage": path.stem,
        "digest": digest(path.read_bytes()),
        "modules": len(fingerprint.get("modules", {})),
        "libraries": len(fingerprint.get("libraries", {})),
    }


def _digests(families: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (name, digest) of the data, which all families share, and of each family's model."""
    digests = []
    for position, family in enumerate(families):
        exported = family["reports"].get("export", {}).get("digests") or {}
        for name, value in sorted(exported.items()):
            if name == "model":
                digests.append((f"model ({family['name']})", value))
            elif position == 0:
                digests.append((name, value))
    return digests


def flatten(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return dotted names and plain values of a section of params.yaml, in its order."""
    if not isinstance(values, Mapping):
        return [(prefix or "value", values)]
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            pairs += flatten(value, name)
        else:
            pairs.append((name, value))
    return pairs
