"""The `pretrain` stage of one family: packed rows in, a language model out.

    rows/{train,validation}/*.arrow, guide, tokenizer/tokenizer.json -> out/{config.json, model.safetensors, training.json}, live/

It evaluates nothing beyond the held-out loss.
"""

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.model.families import build
from privllm.model.special import vocabulary_size
from privllm.tokens.guide import GUIDED, open_guide
from privllm.tokens.rows import open_rows
from privllm.train.compiling import prepare_compiler
from privllm.train.config import PretrainConfig, TrainConfig
from privllm.train.loop import Trained, Work, key_of, train
from privllm.train.objectives import OBJECTIVES, Split


class PretrainInputs(NamedTuple):
    """The folders that `pretrain` reads."""

    rows: Path  # data/pack
    guide: Path  # data/guide/<family>
    tokenizer: Path  # data/tokenizer


def pretrain(family: str, section: PretrainConfig, inputs: PretrainInputs, out: Path, live: Path, work: Work) -> dict[str, Any]:
    """Train, write `out` (Hugging Face's format) and `live` (DVCLive's), return the report.

    Raises UserError for an empty split, a tokenizer that is not ours, or a loss that is no longer a number.
    """
    cfg = getattr(section, family)
    training, validation = (_open(inputs, family, name) for name in ("train", "validation"))
    context = training.rows.row_length - 1
    model = build(family, cfg.model, vocabulary_size(inputs.tokenizer), context, cfg.seed)
    vocabulary = Tokenizer.from_file(str(inputs.tokenizer / "tokenizer.json")).get_vocab()
    objective = OBJECTIVES[family](model, cfg, training, validation, vocabulary)
    if compiled := prepare_compiler(cfg.compile, work.folder.parent / "compiled"):
        objective.compile()
    files = [inputs.rows / "train", inputs.rows / "validation", inputs.guide, inputs.tokenizer]
    steps = math.ceil(cfg.max_tokens / (cfg.batch_size * context))
    trained = train(objective, cfg, steps, live, work, key_of(cfg, files, work.code, compiled))
    report = _report(cfg, model, trained, len(training.rows))
    save(model, {"config": asdict(cfg), "compiled": compiled, **report}, out)
    shutil.rmtree(work.folder, ignore_errors=True)
    return report


def save(model: PreTrainedModel, facts: dict[str, Any], out: Path) -> None:
    """`out` as a Hugging Face folder, with the facts in training.json."""
    shutil.rmtree(out, ignore_errors=True)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(out)
    write_json(out / "training.json", facts)


def _open(inputs: PretrainInputs, family: str, split: str) -> Split:
    rows = open_rows(inputs.rows / split)
    if len(rows) == 0:
        raise UserError(
            f"{inputs.rows / split} holds no rows: the corpus is too small for its split; add documents, or raise `split` in params.yaml."
        )
    guide = open_guide(inputs.guide / split) if family == GUIDED else None
    assert guide is None or len(guide) == len(rows), "the guide is of other rows"
    return Split(rows, guide)


def _report(cfg: TrainConfig, model: PreTrainedModel, trained: Trained, rows: int) -> dict[str, Any]:
    history = trained.history
    validation = history.latest("validation/loss")
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": trained.steps,
        "tokens": history.tokens,
        "labels": history.labels,
        "epochs": round(trained.steps * cfg.batch_size / rows, 4),
        "train_loss": round(history.latest("train/loss"), 6),
        "validation_loss": round(validation, 6),
        "validation_perplexity": round(math.exp(min(validation, 700.0)), 4),
        "stopped_by": history.stopped_by,
    }
