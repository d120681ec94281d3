"""export: a trained model to a folder that stock transformers loads offline, with a card that says what it is.

    data/export/<family>/
                  model.safetensors config.json generation_config.json tokenizer.json tokenizer_config.json
                  adapter/          what training added to a base model, for peft, where that was LoRA and nothing else
                  provenance.json   digests, parameters and figures, for programs
                  README.md         the same for people (a Hugging Face model card)
                  <name>-<type>.gguf, .Modelfile    of a family that continues text, where `export.gguf` names types

The family's Auto class (see `models.family`) and `AutoTokenizer` read it as it is; that is checked after writing.
It uploads nothing.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.engine.digests import digest_of
from privllm.export.card import model_card
from privllm.export.config import ExportConfig
from privllm.export.stock_tokenizer import CHECKED_TEXT, read_as_stock
from privllm.models.family import FAMILIES
from privllm.models.loading import load
from privllm.tokens.encode import Encoder
from privllm.train.adapter_folder import FOLDER as ADAPTER
from privllm.train.chat_files import answer_turns, copy_tokenizer

REQUIRED = {"model": ("model.safetensors", "config.json"), "tokenizer": ("tokenizer.json", "tokenizer_config.json")}
GENERATION = "generation_config.json"  # of families that write
CHECKED_TOKENS = 32
TOLERANCE = 1e-3  # of a logit; another attention kernel adds up in another order


@dataclass(frozen=True)
class ExportInputs:
    """What `export` reads."""

    model: Path  # data/align/<family>
    tokenizer: Path  # data/tokenizer
    documents: Path  # data/dedup, digested only
    fingerprints: tuple[Path, ...] = ()  # data/fingerprint/<stage>.json
    # reports/<stage>.json, or reports/<stage>/<family>.json, by stage
    reports: Mapping[str, Path] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)  # sections of params.yaml
    # what training read besides: data/{pack, guide/<family>, start/<family>}
    learnt: Mapping[str, Path] = field(default_factory=dict)


def export(cfg: ExportConfig, inputs: ExportInputs, family: str, out: Path) -> dict[str, Any]:
    """Write `out` and return the report. Raises UserError when a file of the model or the tokenizer is missing."""
    out.mkdir(parents=True, exist_ok=True)
    _copy_files(inputs, family, out)
    answers_messages = cfg.chat or _training_facts(inputs.model).get("chat", False)
    chat = FAMILIES[family].traits.can_converse and answers_messages
    if chat:
        answer_turns(out)
    digests = digests_of(inputs)
    reports = {stage: json.loads(inputs.reports[stage].read_text("utf-8")) for stage in sorted(inputs.reports)}
    provenance = {
        "name": cfg.name,
        "family": family,
        "chat": chat,
        "digests": digests,
        "params": dict(inputs.params),
        "reports": reports,
    }
    write_json(out / "provenance.json", provenance)
    (out / "README.md").write_text(model_card(provenance), "utf-8")
    difference, parameters = check(inputs, family, out)
    if FAMILIES[family].traits.continues_text:
        for kind in cfg.gguf:
            _write_gguf(cfg, kind, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "parameters": parameters,
        "bytes": size,
        "digests": digests,
        "logit_difference": difference,
        "chat": chat,
    }


def _write_gguf(cfg: ExportConfig, kind: str, out: Path) -> None:
    """Write the model in `out` for llama.cpp beside it, and print what is other than people may expect."""
    from privllm.export.gguf import write_gguf  # only here: the library is an extra

    for note in write_gguf(out, kind, out / file_name(cfg.name, kind), cfg.name).notes:
        say(note)


def file_name(name: str, kind: str) -> str:
    """Return the name of a GGUF file: of letters, digits and dashes, so that no shell and no Modelfile needs quotes."""
    plain = re.sub(r"[^\w.]+", "-", name, flags=re.ASCII).strip("-.") or "model"
    return f"{plain}-{kind}.gguf"


def name_of(folder: Path) -> str:
    """Return the name of the model in `folder`: the one that the build gave it, or the folder's."""
    provenance = folder / "provenance.json"
    if provenance.is_file():
        return json.loads(provenance.read_text("utf-8"))["name"]
    return folder.resolve().name


def _copy_files(inputs: ExportInputs, family: str, out: Path) -> None:
    """Copy the files of the model and of the tokenizer. Raises UserError when a required one is missing."""
    model_files = [inputs.model / name for name in REQUIRED["model"]]
    tokenizer_files = [inputs.tokenizer / name for name in REQUIRED["tokenizer"]]
    for source in (*model_files, *tokenizer_files):
        if not source.is_file():
            raise UserError(
                f"{source} is missing, so there is nothing to export: run `dvc repro`, which makes it first."
            )
    if (inputs.model / GENERATION).is_file():
        model_files.append(inputs.model / GENERATION)
    for source in model_files:
        shutil.copyfile(source, out / source.name)
    copy_tokenizer(inputs.tokenizer, out, family)
    if (inputs.model / ADAPTER).is_dir():  # `align` leaves it out where it has taught the weights themselves
        shutil.copytree(inputs.model / ADAPTER, out / ADAPTER, dirs_exist_ok=True)


def digests_of(inputs: ExportInputs) -> dict[str, str]:
    """Return the digest, by name, of all that can change the weights, and of the weights.

    Feedback is digested by `align`: where no model learns from it, it changes nothing.
    """
    digests = {
        "data": digest_of(sorted(inputs.documents.glob("*.parquet"))),
        "code": digest_of(inputs.fingerprints),
        "model": digest_of([inputs.model / "model.safetensors"]),
        "tokenizer": digest_of([inputs.tokenizer / "tokenizer.json"]),
    }
    for name, folder in inputs.learnt.items():
        digests[name] = digest_of([folder])
    feedback = _training_facts(inputs.model).get("align", {}).get("feedback")
    if feedback:
        digests["feedback"] = feedback
    return digests


def _training_facts(folder: Path) -> dict[str, Any]:
    """Read what training noted of the model in `folder`.

    `align` notes there that it taught turns, which is how the model must be served then.
    """
    facts = folder / "training.json"
    return json.loads(facts.read_text("utf-8")) if facts.is_file() else {}


@torch.inference_mode()
def check(inputs: ExportInputs, family: str, out: Path) -> tuple[float, int]:
    """Load `out` with stock classes; return the largest difference of a logit from the source, and the number of parameters."""
    source = load(family, inputs.model)
    # Local files only, and no code from the folder: the classes are transformers' own.
    auto_class = FAMILIES[family].model.auto_class
    exported = auto_class.from_pretrained(
        out,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype="float32",  # both add up alike, whatever the weights were rounded to
    ).eval()
    ids = _checked_ids(inputs, out)
    context = getattr(source.config, "max_position_embeddings", CHECKED_TOKENS)
    inputs_BT = torch.tensor([ids[: min(CHECKED_TOKENS, context)]])
    difference = float((_logits(source, inputs_BT) - _logits(exported, inputs_BT)).abs().max())
    assert difference < TOLERANCE, f"the exported model's logits differ by {difference}"
    return round(difference, 5), sum(parameter.numel() for parameter in exported.parameters())


def _checked_ids(inputs: ExportInputs, out: Path) -> list[int]:
    """Return the ids of CHECKED_TEXT by the exported tokenizer, which must be the build's and give the text back where that does."""
    encoder = Encoder.open(inputs.tokenizer)
    ids = encoder.encode([CHECKED_TEXT])[0].tolist()
    remedy = "Correct the base model's files in data/base, and build again."
    tokenizer = read_as_stock(out, ids, remedy)
    assert encoder.is_lossy or tokenizer.decode(ids) == CHECKED_TEXT, "the exported tokenizer does not give a text back"
    return ids


def _logits(model: PreTrainedModel, inputs_BT: torch.Tensor) -> torch.Tensor:
    """Return logits [B, T, V]; a decoder reads the same tokens, shifted right by one."""
    config: Any = model.config
    if not config.is_encoder_decoder:
        return model(inputs_BT).logits
    start_B1 = torch.full_like(inputs_BT[:, :1], config.decoder_start_token_id)
    decoder_inputs_BT = torch.cat([start_B1, inputs_BT[:, :-1]], 1)
    return model(inputs_BT, decoder_input_ids=decoder_inputs_BT).logits
