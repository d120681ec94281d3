"""Peer: Hugging Face's `Trainer` the way its `run_clm.py` example uses it. `TEXT TOKENIZER.json [SEED]`; prints one JSON line.

Blocks of tokens without padding, AdamW with the learning rate raised to 1e-3 (its default learns more slowly),
fifty steps of warm-up, and a Qwen3 of the common shape as the class initialises it.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="disabled")

import torch
from peer_corpus import BATCH, CONTEXT, HEADS, LAYERS, SECONDS, WIDTH, Clock, bits_per_byte, load_corpus
from torch.nn import functional as F
from transformers import Qwen3Config, Qwen3ForCausalLM, Trainer, TrainerCallback, TrainingArguments


def build(vocabulary: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=8 * WIDTH // 3,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=WIDTH // HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


def main(text: str, tokenizer: str, seed: int = 0) -> None:
    corpus = load_corpus(Path(text), Path(tokenizer))
    rows = corpus.train[: len(corpus.train) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    torch.manual_seed(seed)
    model = build(corpus.vocabulary)
    tokens = 0

    def collate(batch):
        nonlocal tokens
        ids = torch.stack(list(batch))
        tokens += ids.numel()
        return {"input_ids": ids, "labels": ids}

    def nats_of(x, y):
        return F.cross_entropy(
            model(x.to(model.device)).logits.flatten(0, 1), y.flatten().to(model.device), reduction="sum"
        )

    class Budget(TrainerCallback):
        def on_step_end(self, args, state, control, **unused):
            model.eval()
            clock.mark(nats_of, corpus)
            model.train()
            control.should_training_stop = clock.seconds() >= SECONDS
            return control

    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-3,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=50,
            num_train_epochs=1000,
            save_strategy="no",
            report_to=[],
            logging_steps=10**9,
            disable_tqdm=True,
            seed=seed,
            use_cpu=not torch.cuda.is_available(),
        )
        clock = Clock()
        Trainer(model=model, args=args, train_dataset=rows, data_collator=collate, callbacks=[Budget()]).train()
    seconds = clock.seconds()
    model.eval()
    facts = {
        "peer": "hf_trainer",
        "seed": seed,
        "tokens_per_s": round(tokens / seconds),
        "bpb": round(bits_per_byte(nats_of, corpus), 4),
    }
    print(json.dumps({**facts, "curve": clock.curve}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
