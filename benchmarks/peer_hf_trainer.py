"""Peer: Hugging Face's `Trainer` the way its `run_clm.py` example uses it. `FOLDER SEED SECONDS RATE`; prints one JSON line.

Blocks of tokens without padding, its fused AdamW, warm-up, a cosine that ends with the seconds, the best weights kept, and
a Qwen3 of the common shape as the class initialises it.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="disabled")

import torch
from peer_corpus import BATCH, CONTEXT, FEEDFORWARD, HEADS, LAYERS, WARMUP, WIDTH, BestOf, Clock, cosine, load_corpus
from torch.nn import functional as F
from transformers import Qwen3Config, Qwen3ForCausalLM, Trainer, TrainerCallback, TrainingArguments


def build(vocabulary: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=FEEDFORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=WIDTH // HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


def main(folder: Path, seed: int, seconds: float, rate: float) -> None:
    corpus = load_corpus(folder)
    ids = corpus.train.ids
    rows = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    torch.manual_seed(seed)
    model = build(corpus.vocabulary)
    tokens = 0

    def collate(batch):
        nonlocal tokens
        ids = torch.stack(list(batch))
        tokens += ids.numel()
        return {"input_ids": ids, "labels": ids}

    def nats_of(x, y):
        logits = model(x.to(model.device)).logits
        return F.cross_entropy(logits.flatten(0, 1), y.flatten().to(model.device), reduction="sum")

    class Budget(TrainerCallback):
        def on_train_begin(self, args, state, control, **unused):
            clock.__init__()  # what `Trainer` prepares is not on the clock

        def on_step_end(self, args, state, control, **unused):
            best.look()
            control.should_training_stop = clock.seconds() >= seconds
            return control

    class ByTheClock(Trainer):
        def create_scheduler(self, num_training_steps, optimizer=None):
            def factor(step):
                return min(1.0, (step + 1) / WARMUP) * cosine(clock.seconds() / seconds)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            return self.lr_scheduler

    with tempfile.TemporaryDirectory() as scratch:
        args = TrainingArguments(
            scratch,
            per_device_train_batch_size=BATCH,
            learning_rate=rate,
            num_train_epochs=1000,
            save_strategy="no",
            report_to=[],
            logging_steps=10**9,
            disable_tqdm=True,
            seed=seed,
            use_cpu=not torch.cuda.is_available(),
        )
        clock = Clock()
        best = BestOf(model, nats_of, corpus, clock, seconds)
        trainer = ByTheClock(model=model, args=args, train_dataset=rows, data_collator=collate, callbacks=[Budget()])
        trainer.train()
    took = clock.seconds()
    facts = {
        "seconds": round(took, 1),
        "steps": trainer.state.global_step,
        "tokens_per_s": round(tokens / took),
        "epochs": round(tokens / len(ids), 2),
    }
    print(json.dumps({**facts, **best.result()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:5]))
