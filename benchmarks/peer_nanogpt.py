"""Peer: a script in nanoGPT's manner. `FOLDER SEED SECONDS RATE [compiled]`; prints one JSON line.

GPT-2 blocks with learned positions and a feed-forward part four times as wide, windows from random places, AdamW
(betas 0.9 and 0.99, decay 0.1 on matrices, fused), warm-up and a cosine to a tenth, gradients clipped at 1, the best weights
kept. "compiled": by torch.compile, whose time is on the clock.
"""

import json
import math
import sys
from pathlib import Path

import torch
from peer_corpus import BATCH, CONTEXT, HEADS, LAYERS, WARMUP, WIDTH, BestOf, Clock, cosine, load_corpus
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.qkv, self.attended = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        rows, tokens, _ = x.shape
        split = self.qkv(self.before_attention(x)).split(WIDTH, 2)
        query, key, value = (part.view(rows, tokens, HEADS, WIDTH // HEADS).transpose(1, 2) for part in split)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attended(mixed.transpose(1, 2).reshape(rows, tokens, WIDTH))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class GPT(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH, bias=False)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        for block in self.blocks:
            for weight in (block.attended.weight, block.down.weight):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS))

    def forward(self, x, y, reduction="mean"):
        hidden = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        logits = F.linear(self.norm(hidden), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction=reduction)


def make_optimiser(model: GPT, rate: float) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def main(folder: Path, seed: int, seconds: float, rate: float, compiled: bool) -> None:
    torch.manual_seed(seed)
    corpus = load_corpus(folder)
    ids = corpus.train.ids
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = GPT(corpus.vocabulary).to(device)
    optimiser = make_optimiser(model, rate)
    trained = torch.compile(model) if compiled else model

    def nats_of(x, y):
        return model(x.to(device), y.to(device), "sum")

    clock, step = Clock(), 0
    best = BestOf(model, nats_of, corpus, clock, seconds)
    while clock.seconds() < seconds:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP) * cosine(clock.seconds() / seconds)
        starts = torch.randint(len(ids) - CONTEXT - 1, (BATCH,))
        windows = torch.stack([ids[start : start + CONTEXT + 1] for start in starts]).to(device)
        trained(windows[:, :-1].contiguous(), windows[:, 1:].contiguous()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        best.look()
    took, tokens = clock.seconds(), step * BATCH * CONTEXT
    facts = {
        "seconds": round(took, 1),
        "steps": step,
        "tokens_per_s": round(tokens / took),
        "epochs": round(tokens / len(ids), 2),
    }
    print(json.dumps({**facts, **best.result()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:5]), "compiled" in sys.argv)
