"""export: a trained model to a folder that stock transformers loads offline, with a card that says what it is.

    data/export/<family>/
                  model.safetensors config.json generation_config.json tokenizer.json tokenizer_config.json
                  provenance.json   digests, parameters and figures, for programs
                  README.md         the same for people (a Hugging Face model card)

The family's Auto class (see `models.family`) and `AutoTokenizer` read it as it is; that is checked after writing. It converts no
weights and uploads nothing.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.special_tokens import PAD
from privllm.engine.digests import digest_of
from privllm.export.card import ExportConfig, model_card
from privllm.models.family import CLASSES, load
from privllm.models.seq2seq import with_sentinels
from privllm.tokens.chat_template import FILE as TEMPLATE
from privllm.tokens.encode import Encoder
from privllm.train.chat_files import answer_turns

COPIED = {"model": ("model.safetensors", "config.json"), "tokenizer": ("tokenizer.json", "tokenizer_config.json")}
GENERATION = "generation_config.json"  # of families that write
CHECKED_TEXT = "Nothing leaves the machine: 12,345 naïve façades, 数 and 🙂.\n\n\tTabs too."
CHECKED_TOKENS = 32
TOLERANCE = 1e-3  # of a logit; another attention kernel adds up in another order


@dataclass(frozen=True)
class ExportInputs:
    """What `export` reads."""

    model: Path  # data/align/<family>
    tokenizer: Path  # data/tokenizer
    documents: Path  # data/dedup, digested only
    fingerprints: tuple[Path, ...] = ()  # data/fingerprint/<stage>.json
    reports: Mapping[str, Path] = field(default_factory=dict)  # reports/<stage>.json, or reports/<stage>/<family>.json, by stage
    params: Mapping[str, Any] = field(default_factory=dict)  # sections of params.yaml
    learnt: Mapping[str, Path] = field(default_factory=dict)  # what training read besides: data/{pack, guide/<family>, start/<family>}


def export(cfg: ExportConfig, inputs: ExportInputs, family: str, out: Path) -> dict[str, Any]:
    """Write `out` and return the report. Raises UserError when a file of the model or the tokenizer is missing."""
    out.mkdir(parents=True, exist_ok=True)
    for part, names in COPIED.items():
        for name in names:
            source = getattr(inputs, part) / name
            if not source.is_file():
                raise UserError(f"{source} is missing, so there is nothing to export: run `dvc repro`, which makes it first.")
            shutil.copyfile(source, out / name)
    for source in (inputs.model / GENERATION, inputs.tokenizer / TEMPLATE):
        if source.is_file():
            shutil.copyfile(source, out / source.name)
    if family == "seq2seq":
        (out / "tokenizer.json").write_text(with_sentinels((out / "tokenizer.json").read_text("utf-8")), "utf-8")
    chat = family == "causal" and (cfg.chat or _facts(inputs.model).get("chat", False))
    if chat:
        answer_turns(out)
    digests = digests_of(inputs)
    figures = {stage: json.loads(inputs.reports[stage].read_text("utf-8")) for stage in sorted(inputs.reports)}
    provenance = {
        "name": cfg.name,
        "family": family,
        "chat": chat,
        "digests": digests,
        "params": dict(inputs.params),
        "reports": figures,
    }
    write_json(out / "provenance.json", provenance)
    (out / "README.md").write_text(model_card(provenance), "utf-8")
    difference, parameters = check(inputs, family, out)
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    return {"parameters": parameters, "bytes": size, "digests": digests, "logit_difference": difference, "chat": chat}


def digests_of(inputs: ExportInputs) -> dict[str, str]:
    """By name, of all that can change the weights, and of the weights. What people said, `align` digests: where nobody learns from it, it
    changes nothing.
    """
    said = _facts(inputs.model).get("align", {}).get("feedback")
    return {
        "data": digest_of(sorted(inputs.documents.glob("*.parquet"))),
        "code": digest_of(inputs.fingerprints),
        "model": digest_of([inputs.model / "model.safetensors"]),
        "tokenizer": digest_of([inputs.tokenizer / "tokenizer.json"]),
        **{name: digest_of([folder]) for name, folder in inputs.learnt.items()},
        **({"feedback": said} if said else {}),
    }


def _facts(folder: Path) -> dict[str, Any]:
    """What training noted of the model in `folder`; `align` notes there that it taught turns, which is what must be served then."""
    facts = folder / "training.json"
    return json.loads(facts.read_text("utf-8")) if facts.is_file() else {}


@torch.inference_mode()
def check(inputs: ExportInputs, family: str, out: Path) -> tuple[float, int]:
    """Load `out` with stock classes; returns the largest difference of a logit from the source, and the number of parameters."""
    source = load(family, inputs.model)
    # Local files only, and no code from the folder: the classes are transformers' own.
    loaded = CLASSES[family].from_pretrained(out, local_files_only=True, use_safetensors=True, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True, trust_remote_code=False)
    ids = tokenizer(CHECKED_TEXT, add_special_tokens=False)["input_ids"]
    assert ids == Encoder.open(inputs.tokenizer).encode([CHECKED_TEXT])[0].tolist(), "the exported tokenizer gives other ids"
    assert tokenizer.decode(ids) == CHECKED_TEXT, "the exported tokenizer does not give a text back"
    inputs_BT = torch.tensor([ids[: min(CHECKED_TOKENS, getattr(source.config, "max_position_embeddings", CHECKED_TOKENS))]])
    difference = float((_logits(source, inputs_BT) - _logits(loaded, inputs_BT)).abs().max())
    assert difference < TOLERANCE, f"the exported model's logits differ by {difference}"
    return round(difference, 5), sum(parameter.numel() for parameter in loaded.parameters())


def _logits(model: PreTrainedModel, inputs_BT: torch.Tensor) -> torch.Tensor:
    """[B, T, V]; a model that also writes is given its own input, moved by one, as what it has written."""
    if not model.config.is_encoder_decoder:
        return model(inputs_BT).logits
    return model(inputs_BT, decoder_input_ids=torch.cat([torch.full_like(inputs_BT[:, :1], PAD), inputs_BT[:, :-1]], 1)).logits
