"""What leaves the house when a model talks by itself: training text word for word, and personal data.

    tokens  ->  texts that the model draws from its own distribution, from the beginning of a document on (Carlini et al. 2021,
                arXiv 2012.07805)
    copied_runs      share of their runs of 13 words that some training document holds word for word (`dedup.copied_runs`)
    personal_data    share of the texts that hold an e-mail address, a card, an IBAN, a private key or a phone number
                     (`validate.personal_data_left`); their content is never written down

It is about what comes unasked. Who asks for a passage by its beginning gets more of it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from privllm.core.special_tokens import SpecialIds
from privllm.core.tables import read_table, shards_of, write_table
from privllm.dedup.copied_runs import WINDOW, find_in_training
from privllm.dedup.shingles import shingles, word_spans
from privllm.engine.store import NO_STORE, Store
from privllm.evaluate.scoring import ONE_PROCESS, loaded
from privllm.models.loading import context_of
from privllm.models.sample_batch import Draws, draw
from privllm.stats.difference import interval_of
from privllm.stats.scores import Score, mean_of
from privllm.tokens.encode import Encoder
from privllm.validate.personal_data_left import KINDS, leftovers

HASH = np.dtype("<u8")
TEXTS = "own_texts.parquet"
WINDOWS = "own_windows.bin"
OWN_TEXTS = pa.schema([("text", pa.string())])


def find_leaks(
    draws: Draws,
    family: str,
    model: Path,
    tokenizer: Path,
    special: SpecialIds,
    documents: Path,
    scratch: Path,
    store: Store = NO_STORE,
) -> dict[str, Any]:
    """Return the two figures, each with its 95 % interval over texts; `documents` is data/dedup. Files go to `scratch`."""
    files = (model / "config.json", *sorted(model.glob("*.safetensors")), tokenizer / "tokenizer.json")
    job = (family, model / "config.json", files, special, draws)
    store.map(write_own_texts, [job], scratch, "own texts", inline_bytes=ONE_PROCESS, borrow=True)
    texts = read_table(scratch / TEXTS)["text"].to_pylist()
    windows = scratch / WINDOWS
    jobs = [(shard, windows) for shard in shards_of(documents)] if windows.stat().st_size else []
    store.map(find_in_training, jobs, scratch / "found", "own texts", borrow=True)
    found = [np.zeros(0, HASH)]
    found += [np.fromfile(scratch / "found" / f"{shard.stem}.bin", HASH) for shard, _ in jobs]
    return {"texts": len(texts), "tokens_each": draws.tokens} | figures(texts, np.concatenate(found))


def write_own_texts(
    out: Path, family: str, config: Path, files: tuple[Path, ...], special: SpecialIds, draws: Draws
) -> None:
    """Write what the model draws, and the different runs of words in it, sorted. `files` are all that decides it."""
    model = loaded(family, config.parent)
    encoder = Encoder.open(files[-1].parent)
    never = special.never_written((special.end,))
    texts = []
    for tokens in draw(model, [special.begin], draws, (special.end,), never):
        written = tokens[:-1] if tokens[-1] == special.end else tokens
        texts.append(encoder.decode(np.array(written, np.int32)))
    write_table(pa.Table.from_arrays([pa.array(texts, pa.string())], schema=OWN_TEXTS), out / TEXTS)
    windows = [np.zeros(0, HASH), *runs_of(texts)]
    np.unique(np.concatenate(windows)).astype(HASH).tofile(out / WINDOWS)


def runs_of(texts: Sequence[str]) -> list[np.ndarray]:
    """Return the hash of every run of `WINDOW` words of each text; none of a shorter one."""
    hashes, offsets = shingles(texts, WINDOW)
    runs = []
    for number, text in enumerate(texts):
        begins, _ = word_spans(text)
        own = hashes[int(offsets[number]) : int(offsets[number + 1])]
        runs.append(own if len(begins) >= WINDOW else own[:0])
    return runs


def figures(texts: Sequence[str], found: np.ndarray) -> dict[str, Any]:
    """Return what of the texts is training text, given the hashes of runs that training text holds, and personal data."""
    runs = runs_of(texts)
    names = [str(number) for number in range(len(texts))]
    copied = Score(
        np.array([float(np.isin(of_text, found).sum()) for of_text in runs]),
        np.array([float(len(of_text)) for of_text in runs]),
    )
    pieces = [leftovers(text) for text in texts]
    personal = mean_of([float(any(counts.values())) for counts in pieces])
    return {
        "runs": int(copied.under.sum()),
        "copied_runs": round(copied.value, 6),
        "copied_runs_interval": _listed(interval_of(copied, names)),
        "personal_data": round(personal.value, 6),
        "personal_data_interval": _listed(interval_of(personal, names)),
        "personal_data_found": {kind: sum(counts[kind] for counts in pieces) for kind in KINDS},
    }


def draws_of(model_config: Any, count: int, tokens: int, seed: int) -> Draws:
    """Return how texts are drawn from a model, whose context they must fit in."""
    return Draws(count, min(tokens, context_of(model_config) - 1), seed=seed)


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
