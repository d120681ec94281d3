"""Peer: a script in nanoGPT's manner. `TEXT TOKENIZER.json [SEED]`; prints one JSON line.

GPT-2 blocks with learned positions and a feed-forward part four times as wide, windows from random places, AdamW
(betas 0.9 and 0.99, decay 0.1 on matrices, fused), warm-up and a cosine to a tenth, gradients clipped at 1, all compiled.
"""

import json
import math
import sys
from pathlib import Path

import torch
from peer_corpus import BATCH, CONTEXT, HEADS, LAYERS, SECONDS, WIDTH, Clock, bits_per_byte, load_corpus
from torch import nn
from torch.nn import functional as F

PEAK, WARMUP = 1e-3, 50


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


def make_optimiser(model: GPT) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99), fused=True)


def main(text: str, tokenizer: str, seed: int = 0) -> None:
    torch.manual_seed(seed)
    corpus = load_corpus(Path(text), Path(tokenizer))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = GPT(corpus.vocabulary).to(device)
    compiled, optimiser = torch.compile(model), make_optimiser(model)

    def nats_of(x, y):
        return model(x.to(device), y.to(device), "sum")

    clock, step = Clock(), 0
    while (seconds := clock.seconds()) < SECONDS:
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * seconds / SECONDS))
        for group in optimiser.param_groups:
            group["lr"] = PEAK * min(1.0, (step + 1) / WARMUP) * cosine
        starts = torch.randint(len(corpus.train) - CONTEXT - 1, (BATCH,))
        windows = torch.stack([corpus.train[start : start + CONTEXT + 1] for start in starts]).to(device)
        compiled(windows[:, :-1].contiguous(), windows[:, 1:].contiguous()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        clock.mark(nats_of, corpus)
    speed = step * BATCH * CONTEXT / clock.seconds()
    facts = {
        "peer": "nanogpt",
        "seed": seed,
        "steps": step,
        "tokens_per_s": round(speed),
        "bpb": round(bits_per_byte(nats_of, corpus), 4),
    }
    print(json.dumps({**facts, "curve": clock.curve}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
