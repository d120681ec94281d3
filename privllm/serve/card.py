"""The model card (README.md) of an exported model, from its provenance.

Markdown with the metadata block that Hugging Face reads. What varies from run to run (dates, paths, revisions) is left out.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

# report, key, what a reader calls it
FIGURES = (
    ("dedup", "kept", "documents"),
    ("pretrain", "tokens", "tokens seen in training"),
    ("pretrain", "parameters", "parameters"),
    ("evaluate", "perplexity", "held-out perplexity"),
    ("evaluate", "bits_per_byte", "held-out bits per byte"),
    ("evaluate", "accuracy", "held-out next-token accuracy"),
    ("evaluate", "bleu", "BLEU of greedy continuations (0 to 1)"),
    ("evaluate", "chrf", "chrF of greedy continuations (0 to 1)"),
)
USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "data/export"
model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
prompt = tokenizer(tokenizer.bos_token + "The", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=50)[0]))
```"""
LIMITS = (
    "Trained from scratch on one collection of documents, and only on it: what they get wrong or leave out, it does too. It may repeat "
    "passages of them word for word, so who may use it is who may read them. Personal data was replaced by placeholders before "
    "training, by rules that can miss some."
)


def model_card(provenance: Mapping[str, Any]) -> str:
    """Markdown; `provenance` has name, chat, digests, params and reports."""
    reports = provenance["reports"]
    figures = [(label, reports[stage][key]) for stage, key, label in FIGURES if (reports.get(stage) or {}).get(key) is not None]
    params = [(f"`{name}`", f"`{json.dumps(value, ensure_ascii=False)}`") for name, value in _flat(provenance["params"])]
    kind = "answers messages (chat template included)" if provenance["chat"] else "continues text; it was not tuned to answer questions"
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- privllm\n---",
        f"# {provenance['name']}",
        f"A private causal language model. It {kind}.",
        "## Use",
        USE,
        "## Figures",
        _table(("figure", "value"), figures) if figures else "No reports were given.",
        "## Limits",
        LIMITS,
        "## Provenance",
        "Equal digests of data and code, with equal parameters, give this same model on the same machine.",
        _table(("what", "BLAKE2b-128"), [(name, f"`{value}`") for name, value in sorted(provenance["digests"].items())]),
        _table(("parameter", "value"), params) if params else "No parameters were given.",
    ]
    return "\n\n".join(parts) + "\n"


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
