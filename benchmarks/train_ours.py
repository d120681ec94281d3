"""Our `pretrain`, by the clock: `TEXT TOKENIZER.json [SEED] [key=value ...]`; prints one JSON line.

The same text, shape and seconds as peer_hf_trainer.py and peer_nanogpt.py. It runs the stage's own module, data,
optimiser and trainer; only the end differs: the stage plans for tokens, this for seconds, so the schedule is
planned anew from the speed so far until the time is up. `key=value` sets a parameter of `pretrain.causal`.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow as pa
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from peer_corpus import BATCH, CONTEXT, HEADS, LAYERS, SECONDS, WIDTH, Clock, Corpus, bits_per_byte, load_corpus

from privllm.models.causal import CausalConfig
from privllm.models.loading import build
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import open_rows, write_rows
from privllm.train.checkpoint import SafeCheckpointIO
from privllm.train.compile_support import prepare_compiler
from privllm.train.config import CausalPretrain
from privllm.train.lightning_module import Training
from privllm.train.loop import fit, make_trainer
from privllm.train.pretrain_objectives import OBJECTIVES, Split
from privllm.train.schedule import plan

UNPLANNED = 10**9  # steps


class Budget(Callback):
    """Ends at `SECONDS`; the decay takes the last `decay_fraction` of them."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.clock = corpus, Clock()

    def on_train_start(self, trainer: Any, module: Training) -> None:
        self.clock = Clock()

    def on_train_batch_end(self, trainer: Any, module: Training, *_: Any) -> None:
        self.clock.mark(lambda x, y: nats(module, x, y), self.corpus)
        step, seconds = trainer.global_step, self.clock.seconds()
        if seconds >= SECONDS * (1 - module.cfg.decay_fraction):
            begun = min(module.schedule.decay_from, step)
            left = (SECONDS - seconds) / (seconds / step)
            module.schedule = replace(module.schedule, decay_from=begun, end=max(step + 1, round(step + left)))
        trainer.should_stop = seconds >= SECONDS


@torch.no_grad()
def nats(module: Training, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    module.eval()
    with torch.compiler.set_stance("force_eager"):
        positions = torch.arange(x.shape[1]).expand_as(x)
        loss = module.objective.loss(tuple(part.to(module.device) for part in (x, positions, y)), "sum")
    module.train()
    return loss


def pack(ids: torch.Tensor, path: Path) -> None:
    """The rows of one long document."""
    packed = pack_rows([ids.to(torch.int32).numpy()], pa.array(["text"]), CONTEXT)
    write_rows(packed.input_ids, packed.pieces, CONTEXT, path)


def main(text: str, tokenizer: str, seed: int, changes: dict[str, Any]) -> None:
    corpus = load_corpus(Path(text), Path(tokenizer))
    shape = CausalConfig(layers=LAYERS, width=WIDTH, heads=HEADS)
    cfg = CausalPretrain(**{"model": shape, "batch_size": BATCH, "seed": seed, **changes})
    with tempfile.TemporaryDirectory() as folder:
        pack(corpus.train, Path(folder) / "00000.arrow")
        rows = open_rows(Path(folder))
        schedule = replace(plan(UNPLANNED, cfg.warmup_steps, cfg.decay_fraction), decay_from=UNPLANNED - 1)
        # empty, so compiling is paid for within the budget
        compiled = prepare_compiler(cfg.compile, Path(folder) / "compiled")
        budget = Budget(corpus)
        model = build("causal", cfg.model, corpus.vocabulary, CONTEXT, seed)
        objective = OBJECTIVES["causal"](model, cfg, Split(rows), Split(rows), {})
        if compiled:
            objective.compile()
        module = Training(objective, cfg, schedule)
        trainer = make_trainer(cfg, SafeCheckpointIO("benchmark"), [budget])
        fit(trainer, module, None)
        seconds, steps = budget.clock.seconds(), trainer.global_step
        bpb = bits_per_byte(lambda x, y: nats(module, x, y), corpus)
    facts = {
        "peer": "privllm",
        "seed": seed,
        "steps": steps,
        "tokens_per_s": round(steps * cfg.batch_size * CONTEXT / seconds),
        "bpb": round(bpb, 4),
    }
    print(json.dumps({**facts, "compiled": compiled, **changes, "curve": budget.clock.curve}))


if __name__ == "__main__":
    numbers = [argument for argument in sys.argv[3:] if "=" not in argument]
    settings = {key: yaml.safe_load(value) for key, value in (a.split("=", 1) for a in sys.argv[3:] if "=" in a)}
    main(sys.argv[1], sys.argv[2], int(numbers[0]) if numbers else 0, settings)
