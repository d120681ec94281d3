"""Tiny pretrained folders of every family, a tokenizer, and datasets that are learnt in seconds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from privllm.core.report import write_json
from privllm.models.causal import CausalConfig
from privllm.models.loading import build
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import Seq2SeqConfig
from privllm.tokens.special_ids import special_ids
from privllm.tokens.vocabulary import TOKENIZER_CONFIG, TokenizerConfig, train
from privllm.train.chat_files import copy_tokenizer
from privllm.train.finetune import FinetuneConfig

CONTEXT = 32
WORDS = "red green blue stone river cloud Ada Bob Eve walks sings sleeps the a".split()
MODELS = {
    "causal": CausalConfig(layers=2, width=32, heads=2, feedforward=85),  # whose start prefers neither reply
    "masked": MaskedConfig(layers=2, width=32, heads=2),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2),
}


def make_tokenizer(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    texts = [" ".join(rng.choice(WORDS, 8)) for _ in range(300)]
    (folder / "tokenizer.json").write_text(train(TokenizerConfig(vocabulary=320), texts), "utf-8")
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    return folder


def make_start(family: str, folder: Path, tokenizer: Path) -> Path:
    """What `pretrain` leaves, but for the training."""
    build(family, MODELS[family], special_ids(tokenizer), CONTEXT, seed=1).save_pretrained(folder)
    copy_tokenizer(tokenizer, folder, family)
    write_json(folder / "training.json", {"config": {"model": asdict(MODELS[family])}})
    return folder


def example(kind: str, i: int) -> dict[str, Any]:
    rng = np.random.default_rng(i)
    colour, name, verb = rng.choice(WORDS[:3]), rng.choice(WORDS[6:9]), rng.choice(WORDS[9:12])
    noise = " ".join(rng.choice(WORDS[3:6], int(rng.integers(1, 5))))
    if kind == "classification":
        return {"text": f"{noise} {colour} {i}", "label": str(colour)}
    if kind == "tokens":
        return {
            "tokens": [*noise.split(), str(name), str(verb), str(i)],
            "labels": ["O"] * len(noise.split()) + ["B-WHO", "O", "O"],
        }
    if kind == "text2text":
        return {"input": f"{noise} {colour} {i}", "output": str(colour)}
    return {"messages": [{"role": "user", "content": f"{noise} {i}"}, {"role": "assistant", "content": str(verb)}]}


def write_examples(path: Path, kind: str, number: int = 60) -> Path:
    path.write_text("".join(json.dumps(example(kind, i)) + "\n" for i in range(number)), "utf-8")
    return path


def tiny(kind: str, family: str, **changes: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "batch_size": 4,
        "epochs": 1.0,
        "warmup_steps": 2,
        "validate_every": 10,
        "generated": 8,
        "max_new_tokens": 3,
        "compile": False,
    }
    return FinetuneConfig(kind=kind, family=family, **(values | changes))
