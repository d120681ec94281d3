"""The build's one page: reports in, `index.html` out.

Everything is in the page itself (styles, charts as SVG): no script, no request, nothing that changes from run to
run. It computes no result of its own; a stage that left no report is said to be absent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.printable import WORDS, printable
from privllm.core.report import write_whole
from privllm.core.seed import digest
from privllm.core.split import SPLITS
from privllm.report import charts
from privllm.report.explanations import facts
from privllm.report.funnel import funnel
from privllm.report.tasks_table import tasks_table

TEMPLATE = "template.html.j2"
FEW_TOKENS = 50  # a slice smaller than this is in the table, not in the chart
MAX_BARS = 14
SHARED = ("collect", "clean", "dedup", "validate", "annotate", "tokenizer", "pack")  # stages with one report
OWN = ("pretrain", "evaluate", "export")  # stages with one for each family
# kind of slice -> its title; the figure of its chart, and how it is written
SLICES = {
    "pos": ("part of speech", "accuracy", ".0%"),
    "source": ("source", "bits_per_byte", ".2f"),
    "length": ("length", "bits_per_byte", ".2f"),
    "entity": ("entity", "accuracy", ".0%"),
    "media_type": ("kind of file", "bits_per_byte", ".2f"),
}
# stage, key, label of the table that sets the families side by side
COMPARED = (
    ("pretrain", "parameters", "Parameters"),
    ("pretrain", "tokens", "Tokens seen"),
    ("pretrain", "labels", "Tokens learnt to predict"),
    ("pretrain", "validation_loss", "Validation loss"),
    ("evaluate", "tokens", "Test tokens scored"),
    ("evaluate", "loss", "Test loss (nats a token)"),
    ("evaluate", "perplexity", "Test perplexity"),
    ("evaluate", "bits_per_byte", "Test bits per byte"),
    ("evaluate", "accuracy", "Test token accuracy"),
    ("evaluate", "bleu", "BLEU of continuations"),
    ("evaluate", "chrf", "chrF of continuations"),
)


@dataclass(frozen=True)
class ReportInputs:
    """Where the page's numbers lie; whatever is absent is left out of the page and said to be."""

    reports: Path  # folder of <stage>.json, <stage>/<family>.json, and pretrain/<family>/ with plots/metrics/{train,validation}/loss.tsv
    families: tuple[str, ...] = ()
    evaluation: Path | None = None  # folder with <family>/samples.json
    fingerprints: tuple[Path, ...] = ()  # data/fingerprint/<stage>.json
    params: Mapping[str, Any] = field(default_factory=dict)  # sections of params.yaml
    descriptions: Mapping[str, str] = field(default_factory=dict)  # of families, a sentence each


def render_report(inputs: ReportInputs, out: Path) -> None:
    """Write the page to `out`. Raises UserError for a report that is not JSON."""
    reports = {stage: read_object(path) for stage in SHARED if (path := inputs.reports / f"{stage}.json").is_file()}
    families = [_family(inputs, name) for name in inputs.families]
    own = families[0]["reports"] if families else {}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": show_count,
        "number": show_number,
        "percent": lambda share: f"{share:.1%}",
        "fixed": lambda value: f"{value:.2f}",
    }
    page = environment.get_template(TEMPLATE).render(
        reports=reports,
        tasks=tasks_table(inputs.reports / "finetune"),
        funnel=funnel(reports),
        facts=facts(reports),
        tiles=[fact for found in facts(reports | own).values() for fact in found if fact.headline],
        splits=_splits(reports.get("pack")),
        families=families,
        compared=[row for row in COMPARED if any(row[1] in family["reports"].get(row[0], {}) for family in families)],
        provenance=_provenance(inputs, families),
    )
    write_whole(out, page)


def _family(inputs: ReportInputs, name: str) -> dict[str, Any]:
    """All that the page says of one family."""
    reports = {stage: read_object(path) for stage in OWN if (path := inputs.reports / stage / f"{name}.json").is_file()}
    return {
        "name": name,
        "what": inputs.descriptions.get(name, name),
        "continues_text": TRAITS[name].continues_text,
        "reports": reports,
        "facts": facts(reports),
        "loss": _loss(inputs.reports / "pretrain" / name, reports.get("pretrain")),
        "slices": _slices(name, reports.get("evaluate")),
        "spots": [spot | {"title": SLICES[spot["kind"]][0]} for spot in reports.get("evaluate", {}).get("weak_spots", ())],
        "samples": _samples(inputs.evaluation / name if inputs.evaluation else None),
    }


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and run `dvc repro`, which writes it anew.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold a JSON object: delete it and run `dvc repro`, which writes it anew.")
    return value


def _shown(value: Any) -> Any:
    """What stands in the page for a value: words may turn no others round, and half a character would not become UTF-8."""
    return printable(value, WORDS) if isinstance(value, str) and not hasattr(value, "__html__") else value  # which is markup of ours


def show_count(value: float) -> str:
    """A whole number with thousands separators: 1,234."""
    return f"{value:,.0f}"


def show_number(value: Any) -> str:
    """Any value of a report or of params.yaml as a person reads it: whole numbers in full, others to four digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return ", ".join(map(show_number, value)) if isinstance(value, list | tuple) else str(value)


def _splits(pack: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if pack is None:
        return []
    columns = ("documents", "tokens", "rows", "bytes")
    return [{"name": split} | {column: int((pack.get(column) or {}).get(split, 0)) for column in columns} for split in SPLITS]


def _loss(folder: Path, pretrain: Mapping[str, Any] | None) -> str | None:
    train, validation = (charts.read_curve(folder / "plots" / "metrics" / name / "loss.tsv") for name in ("train", "validation"))
    if not train and not validation:
        return None
    steps, tokens = (pretrain or {}).get("steps"), (pretrain or {}).get("tokens")
    return charts.loss_chart(train, validation, tokens / steps if steps and tokens else None)


def _slices(family: str, evaluate: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One entry for each way of slicing the held-out text: its table, and its chart where two bars are worth drawing."""
    found = []
    for kind, (title, metric, number_format) in SLICES.items():
        key = f"by_{kind}"
        rows = sorted(((evaluate or {}).get(key) or {}).items(), key=lambda item: (-item[1].get("tokens", 0), item[0]))
        bars = {name: row[metric] for name, row in rows[:MAX_BARS] if _worth_a_bar(name, row, metric)}
        chart = charts.bar_chart(
            f"{family} {key}", dict(sorted(bars.items(), key=lambda bar: -bar[1])), metric.replace("_", " "), number_format
        )
        if rows:
            found.append({"title": title, "rows": rows, "chart": chart if len(bars) > 1 else None, "metric": metric.replace("_", " ")})
    return found


def _worth_a_bar(name: str, row: Mapping[str, Any], metric: str) -> bool:
    return row.get("tokens", 0) >= FEW_TOKENS and metric in row and name != "unannotated"


def _samples(folder: Path | None) -> dict[str, Any] | None:
    path = folder / "samples.json" if folder else None
    return read_object(path) if path and path.is_file() else None


def _provenance(inputs: ReportInputs, families: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    prints = [(path, read_object(path)) for path in sorted(inputs.fingerprints) if path.is_file()]
    return {
        "params": [(f"{section}.{key}", value) for section, values in inputs.params.items() for key, value in flatten(values)],
        "fingerprints": [
            {
                "stage": path.stem,
                "digest": digest(path.read_bytes()),
                "modules": len(found.get("modules", {})),
                "libraries": len(found.get("libraries", {})),
            }
            for path, found in prints
        ],
        "digests": [
            (f"{what} ({family['name']})" if what == "model" else what, value)
            for i, family in enumerate(families)
            for what, value in sorted((family["reports"].get("export", {}).get("digests") or {}).items())
            if i == 0 or what == "model"
        ],
    }


def flatten(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and plain values of a section of params.yaml, in the order given."""
    if not isinstance(values, Mapping):
        return [(prefix or "value", values)]
    pairs = []
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        pairs += flatten(value, name) if isinstance(value, Mapping) else [(name, value)]
    return pairs
