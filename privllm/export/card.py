"""The model card (README.md) of an exported model, from its provenance.

Markdown with the metadata block that Hugging Face reads. What varies from run to run (dates, paths, revisions) is left out.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# report, key, what a reader calls it
FIGURES = (
    ("dedup", "kept", "documents"),
    ("pretrain", "tokens", "tokens seen in training"),
    ("pretrain", "parameters", "parameters"),
    ("evaluate", "perplexity", "held-out perplexity"),
    ("evaluate", "bits_per_byte", "held-out bits per byte"),
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
{rest}
```"""
# family: transformers' class, what the model is, how it is asked
FAMILIES = {
    "causal": (
        "AutoModelForCausalLM",
        "causal language model",
        'prompt = tokenizer(tokenizer.bos_token + "The", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**prompt, max_new_tokens=50)[0]))",
    ),
    "masked": (
        "AutoModelForMaskedLM",
        "masked language model: it fills gaps, and is the start for classifiers and taggers",
        'text = tokenizer("The " + tokenizer.mask_token + " is", return_tensors="pt")\n'
        'gap = (text["input_ids"][0] == tokenizer.mask_token_id).nonzero()\n'
        "print(tokenizer.decode(model(**text).logits[0, gap[0, 0]].argmax()))",
    ),
    "seq2seq": (
        "AutoModelForSeq2SeqLM",
        "encoder-decoder language model: it writes what belongs into gaps, and is the start for rewriting, answering and summarising",
        'text = tokenizer("The <extra_id_0> is", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**text, max_new_tokens=20)[0]))",
    ),
}
TAGS = {"causal": "text-generation", "masked": "fill-mask", "seq2seq": "text2text-generation"}
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


@dataclass
class ExportConfig:
    name: str = "privllm"  # title of the model card
    chat: bool = False  # whether the model was tuned to answer, which `align` says by itself; otherwise it continues text


def model_card(provenance: Mapping[str, Any]) -> str:
    """Markdown; `provenance` has name, family, chat, digests, params and reports."""
    auto, what, rest = FAMILIES[provenance["family"]]
    reports = provenance["reports"]
    figures = [(label, reports[stage][key]) for stage, key, label in FIGURES if (reports.get(stage) or {}).get(key) is not None]
    params = [(f"`{name}`", f"`{json.dumps(value, ensure_ascii=False)}`") for name, value in _flat(provenance["params"])]
    start = str((reports.get("pretrain") or {}).get("start", "scratch"))
    kind = "It answers messages (chat template included)." if provenance["chat"] else "It was not tuned to answer questions."
    parts = [
        f"---\nlibrary_name: transformers\npipeline_tag: {TAGS[provenance['family']]}\ntags:\n- privllm\n---",
        f"# {provenance['name']}",
        f"A private {what}. {kind}{aligned(reports.get('align') or {})}",
        "## Use",
        LOADED.format(auto=auto, family=provenance["family"], rest=rest),
        "## Figures",
        _table(("figure", "value"), figures) if figures else "No reports were given.",
        "## Limits",
        f"{BEGAN.get(start, BEGAN['base']).format(start=start)} {LIMITS}",
        "## Provenance",
        SAME,
        _table(("what", "BLAKE2b-128"), [(name, f"`{value}`") for name, value in sorted(provenance["digests"].items())]),
        _table(("parameter", "value"), params) if params else "No parameters were given.",
    ]
    return "\n\n".join(parts) + "\n"


def aligned(report: Mapping[str, Any]) -> str:
    """What people said that the model learnt from, and what came of it; nothing where it learnt from nobody."""
    if not report.get("aligned"):
        return ""
    learnt = {kind: report["training"][kind]["used"] for kind in ("corrections", "preferences")}
    said = f" After that it learnt from {learnt['corrections']:,} corrections and {learnt['preferences']:,} preferences"
    said += f" (people whose words counted: {report['people']:,}; names are not kept)."
    if judged := report.get("preference_accuracy"):
        said += f" Of {judged['judged']:,} judgements that were kept back it agrees with {judged['after']:.0%}, before with"
        said += f" {judged['before']:.0%}; the 95 % interval of the difference is {judged['low']:+.1%} to {judged['high']:+.1%}."
    return said


def _table(head: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join(lines + [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows])


def _cell(value: Any) -> str:
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return pairs
