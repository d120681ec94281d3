"""export: a trained model to a folder that stock transformers loads offline, with a card that says what it is.

    data/export/  model.safetensors config.json generation_config.json tokenizer.json tokenizer_config.json
                  provenance.json   digests, parameters and figures, for programs
                  README.md         the same for people (a Hugging Face model card)

`AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained` read it as it is; that is checked after writing. It
converts no weights and uploads nothing.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.seed import ID_BYTES, name_digest
from privllm.model.causal import load_causal
from privllm.serve.card import model_card
from privllm.tokens.encoding import Encoder

COPIED = {"model": ("model.safetensors", "config.json", "generation_config.json"), "tokenizer": ("tokenizer.json", "tokenizer_config.json")}
CHECKED_TEXT = "Nothing leaves the machine: 12,345 naïve façades, 数 and 🙂.\n\n\tTabs too."
CHECKED_TOKENS = 32
TOLERANCE = 1e-3  # of a logit; another attention kernel adds up in another order


@dataclass
class ExportConfig:
    name: str = "privllm"  # title of the model card
    chat: bool = False  # whether the model was tuned to answer; otherwise it continues text


@dataclass(frozen=True)
class ExportInputs:
    """What `export` reads."""

    model: Path  # data/pretrain
    tokenizer: Path  # data/tokenizer
    documents: Path  # data/dedup, digested only
    fingerprints: tuple[Path, ...] = ()  # data/fingerprint/<stage>.json
    reports: tuple[Path, ...] = ()  # reports/<stage>.json
    params: Mapping[str, Any] = field(default_factory=dict)  # sections of params.yaml


def export(cfg: ExportConfig, inputs: ExportInputs, out: Path) -> dict[str, Any]:
    """Write `out` and return the report. Raises UserError when a file of the model or the tokenizer is missing."""
    out.mkdir(parents=True, exist_ok=True)
    for part, names in COPIED.items():
        for name in names:
            source = getattr(inputs, part) / name
            if not source.is_file():
                raise UserError(f"{source} is missing, so there is nothing to export: run `dvc repro`, which makes it first.")
            shutil.copyfile(source, out / name)
    digests = {
        "data": digest_of(sorted(inputs.documents.glob("*.parquet"))),
        "code": digest_of(inputs.fingerprints),
        "model": digest_of([inputs.model / "model.safetensors"]),
        "tokenizer": digest_of([inputs.tokenizer / "tokenizer.json"]),
    }
    figures = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(inputs.reports, key=lambda path: path.stem)}
    provenance = {"name": cfg.name, "chat": cfg.chat, "digests": digests, "params": dict(inputs.params), "reports": figures}
    write_json(out / "provenance.json", provenance)
    (out / "README.md").write_text(model_card(provenance), "utf-8")
    difference, parameters = check(inputs, out)
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    return {"parameters": parameters, "bytes": size, "digests": digests, "logit_difference": difference, "chat": cfg.chat}


def digest_of(files: tuple[Path, ...] | list[Path]) -> str:
    """One digest of the names and bytes of files, in the order of their names."""
    parts: list[str] = []
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as file:
            parts += [path.name, hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=ID_BYTES)).hexdigest()]
    return name_digest("files", *parts)


@torch.inference_mode()
def check(inputs: ExportInputs, out: Path) -> tuple[float, int]:
    """Load `out` with stock classes; returns the largest difference of a logit from the source, and the number of parameters."""
    source = load_causal(inputs.model)
    # Local files only, and no code from the folder: the classes are transformers' own.
    loaded = AutoModelForCausalLM.from_pretrained(out, local_files_only=True, use_safetensors=True, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True, trust_remote_code=False)
    ids = tokenizer(CHECKED_TEXT, add_special_tokens=False)["input_ids"]
    assert ids == Encoder.open(inputs.tokenizer).encode([CHECKED_TEXT])[0].tolist(), "the exported tokenizer gives other ids"
    assert tokenizer.decode(ids) == CHECKED_TEXT, "the exported tokenizer does not give a text back"
    inputs_BT = torch.tensor([ids[: min(CHECKED_TOKENS, source.config.max_position_embeddings)]])
    difference = float((source(inputs_BT).logits - loaded(inputs_BT).logits).abs().max())
    assert difference < TOLERANCE, f"the exported model's logits differ by {difference}"
    return round(difference, 5), sum(parameter.numel() for parameter in loaded.parameters())
