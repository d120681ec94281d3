"""The model card (README.md) of an exported model, from its provenance.

Markdown with the metadata block that Hugging Face reads. What varies from run to run (dates, paths, revisions) is left out.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from privllm.models.family import FAMILIES

# report, key, what a reader calls it
FIGURES = (
    ("dedup", "kept", "documents"),
    ("pretrain", "tokens", "tokens seen in training"),
    ("pretrain", "parameters", "parameters"),
    ("evaluate", "perplexity", "held-out perplexity"),
    ("evaluate", "bits_per_byte", "held-out bits per byte"),
    ("evaluate", "bits_per_byte_clean", "held-out bits per byte of what was not copied from training"),
    ("evaluate", "pseudo_bits", "held-out pseudo-bits per byte (hidden tokens, both sides seen)"),
    ("evaluate", "pseudo_bits_clean", "held-out pseudo-bits per byte of what was not copied from training"),
    ("evaluate", "denoising_bits", "held-out denoising bits per byte (cut out spans)"),
    (
        "evaluate",
        "denoising_bits_clean",
        "held-out denoising bits per byte of what was not copied from training",
    ),
    ("evaluate", "accuracy", "held-out token accuracy"),
    ("evaluate", "bleu", "BLEU of greedy continuations (0 to 1)"),
    ("evaluate", "chrf", "chrF of greedy continuations (0 to 1)"),
)
LOADED = """\
```python
from transformers import {auto}, AutoTokenizer

folder = "data/export/{family}"
model = {auto}.from_pretrained(folder, local_files_only=True)
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
{usage}
```"""
BEGAN = {
    "scratch": "Trained from scratch on one collection of documents, and only on it: what they get wrong or leave out, it does too.",
    "incumbent": (
        "Trained on from the model that was promoted before it, so it also carries what earlier collections of documents taught that one, "
        "documents that are gone since included."
    ),
    "base": (
        "Trained on from {start}, a model that was made elsewhere: it knows, and gets wrong, what that one did, and that one's licence "
        "applies to it too."
    ),
}
LIMITS = (
    "It may repeat passages of its documents word for word, so who may use it is who may read them. Personal data was replaced by "
    "placeholders before training, by rules that can miss some."
)

SAME = (
    "Everything that can change the weights has a digest or a parameter here: the documents (`data`), what the stages before mean and "
    "the libraries below them (`code`), the rows that were trained on (`pack`), what annotations say of them (`guide`), where training "
    "began (`start`), the tokenizer, and, where people taught it, what they said (`feedback`). Where all of them are equal, so is the "
    "model (`model`) on the same machine."
)


def model_card(provenance: Mapping[str, Any]) -> str:
    """Return the card as Markdown; `provenance` has name, family, chat, digests, params and reports."""
    family = FAMILIES[provenance["family"]]
    text = family.text
    reports = provenance["reports"]
    use = LOADED.format(auto=family.model.auto_class.__name__, family=family.name, usage=text.usage)
    chat = "It answers messages (chat template included)."
    no_chat = "It was not tuned to answer questions."
    sections = [
        f"---\nlibrary_name: transformers\npipeline_tag: {text.pipeline_tag}\ntags:\n- privllm\n---",
        f"# {provenance['name']}",
        f"A private {text.card}. {chat if provenance['chat'] else no_chat}{aligned(reports.get('align') or {})}",
        "## Use",
        use,
        "## Figures",
        _figures_table(reports),
        "## Limits",
        f"{_origin(reports)} {LIMITS}",
        "## Provenance",
        SAME,
        _digests_table(provenance["digests"]),
        _params_table(provenance["params"]),
    ]
    return "\n\n".join(sections) + "\n"


def _origin(reports: Mapping[str, Any]) -> str:
    """Return what the weights began as."""
    base_model = str((reports.get("pretrain") or {}).get("start", "scratch"))
    return BEGAN.get(base_model, BEGAN["base"]).format(start=base_model)


def _figures_table(reports: Mapping[str, Any]) -> str:
    rows = []
    for stage, key, label in FIGURES:
        report = reports.get(stage) or {}
        value = {**report, **report.get("test", {})}.get(key)  # of the test split, by which nobody chose
        if value is not None:
            rows.append((label, value))
    return _table(("figure", "value"), rows) if rows else "No reports were given."


def _digests_table(digests: Mapping[str, str]) -> str:
    rows = [(name, f"`{digest}`") for name, digest in sorted(digests.items())]
    return _table(("what", "BLAKE2b-128"), rows)


def _params_table(params: Mapping[str, Any]) -> str:
    rows = []
    for name, value in _flat(params):
        rows.append((f"`{name}`", f"`{json.dumps(value, ensure_ascii=False)}`"))
    return _table(("parameter", "value"), rows) if rows else "No parameters were given."


def aligned(report: Mapping[str, Any]) -> str:
    """Return what feedback the model learnt from and how its agreement changed; "" where it learnt from none."""
    if not report.get("aligned"):
        return ""
    training = report["training"]
    sentences = (
        f" After that it learnt from {training['corrections']['used']:,} corrections "
        f"and {training['preferences']['used']:,} preferences "
        f"(people whose words counted: {report['people']:,}; names are not kept)."
    )
    accuracy = report.get("preference_accuracy")
    if accuracy:
        sentences += (
            f" Of {accuracy['judged']:,} judgements that were kept back it agrees with {accuracy['after']:.0%}, "
            f"before with {accuracy['before']:.0%}"
        )
        interval = "too few for an interval of the difference"
        if "low" in accuracy:
            interval = f"the 95 % interval of the difference is {accuracy['low']:+.1%} to {accuracy['high']:+.1%}"
        sentences += f"; {interval}."
    return sentences


def _table(head: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    for name, value in rows:
        lines.append(f"| {_cell(name)} | {_cell(value)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    text = f"{value:,}" if is_count else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return dotted names and plain values."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{name}.")
        else:
            pairs.append((name, value))
    return pairs
