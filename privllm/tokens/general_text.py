"""General text beside a base model: what training on documents must not make it forget.

    data/start/<family>/general.parquet   GENERAL

`train.replay_text` writes it: the files of data/replay, or what the base model says by itself. A part is read again while
the model is trained on the documents; the other part only measures, before and after. A text is held as ids, since
what a model says has marks of turns in it that no text may have. The first ids of each are given: what begins a document, or
what a chat template puts before a question. A model that did not write them may find them unlikely: they are neither learnt nor measured.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from privllm.core.params import require
from privllm.core.records import ROWS
from privllm.core.seed import digest, unit_interval
from privllm.core.special_tokens import SpecialIds
from privllm.core.tables import read_table, write_table
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import NO_END, Rows

FILE = "general.parquet"
LEAST = 8  # tokens of a text that is worth anything
READ, MEASURED = "read", "measured"  # what a text is for: training, or figures
GENERAL = pa.schema(
    [("id", pa.string()), ("use", pa.string()), ("tokens", pa.list_(pa.int32())), ("given", pa.int32())]
)


@dataclass
class ReplayConfig:
    """The section `replay` of params.yaml: general text beside a base model."""

    samples: int = 192  # texts that the base model writes, where data/replay holds no file; 0 = none
    tokens: int = 160  # of each text at most, [16, 4096]; longer files are cut into as many texts
    # of what it writes, above 0, at most 2; at 1 with all tokens its own loss is the least there is, so a change is forgetting
    temperature: float = 1.0
    top_k: int = 0  # only the k likeliest tokens (Fan et al. 2018); 0 = all
    measured: float = 0.3  # share of the texts that training never reads, and both models are measured on, [0.05, 0.9]
    most_measured: int = 96  # of these, at most, >= 10
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.samples <= 100_000, "replay.samples", "between 0 and 100000")
        require(16 <= self.tokens <= 4096, "replay.tokens", "between 16 and 4096")
        require(0 < self.temperature <= 2, "replay.temperature", "above 0 and at most 2")
        require(self.top_k >= 0, "replay.top_k", "0 or more")
        require(0.05 <= self.measured <= 0.9, "replay.measured", "between 0.05 and 0.9")
        require(self.most_measured >= 10, "replay.most_measured", "at least 10")


class NewText(NamedTuple):
    """A text to be written to the file."""

    tokens: list[int]
    given: int = 1  # ids before what its author wrote: a mark, or all that a template puts there


class GeneralText(NamedTuple):
    """One text of the file."""

    id: str
    use: str  # READ or MEASURED
    tokens: np.ndarray  # int32
    given: int  # as of `NewText`


def text_id(tokens: Sequence[int]) -> str:
    """Return the id of a text: a hash of its tokens, so that a text is on one side however often it comes."""
    return digest(np.asarray(tokens, "<i4").tobytes())


def write_general(cfg: ReplayConfig, texts: Iterable[NewText], out: Path) -> dict[str, int]:
    """Write different texts in the order of a hash of them; return how many are for what."""
    by_id = {text_id(text.tokens): text for text in texts if len(text.tokens) - text.given >= LEAST}
    uses = {}
    for identifier in sorted(by_id):
        is_measured = unit_interval("general", cfg.seed, identifier) < cfg.measured
        uses[identifier] = MEASURED if is_measured else READ
    measured = [identifier for identifier, use in uses.items() if use == MEASURED]
    left_out = set(measured[cfg.most_measured :])
    rows = [{"id": name, "use": use, **by_id[name]._asdict()} for name, use in uses.items() if name not in left_out]
    write_table(pa.Table.from_pylist(rows, GENERAL), out)
    counts = Counter(row["use"] for row in rows)
    tokens = sum(len(row["tokens"]) - 1 for row in rows if row["use"] == READ)
    return {READ: counts[READ], MEASURED: counts[MEASURED], "tokens_read": tokens}


def read_general(start: Path, use: str) -> list[GeneralText]:
    """Return the texts of a use beside the model in `start` (data/start/<family>); none where there are none."""
    path = start / FILE
    if not path.is_file():
        return []
    texts = []
    for row in read_table(path).to_pylist():
        if row["use"] == use:
            texts.append(GeneralText(row["id"], use, np.array(row["tokens"], np.int32), row["given"]))
    return texts


def general_rows(start: Path, context: int, special: SpecialIds) -> Rows | None:
    """Return the texts that training reads, packed as documents are; None where there are none. What was given is not learnt.

    Texts are packed by what stands before them, so that no row has a boundary that the model did not write.
    """
    by_first: dict[int, list[GeneralText]] = {}
    only_read: dict[str, int] = {}  # of the ids behind the first
    for text in read_general(start, READ):
        by_first.setdefault(int(text.tokens[0]), []).append(text)
        if text.given > 1:
            only_read[text.id] = text.given - 1
    batches = []
    for first, texts in sorted(by_first.items()):
        ids = pa.array([text.id for text in texts], pa.string())
        packed = pack_rows([text.tokens[1:] for text in texts], ids, context, replace(special, begin=first, end=NO_END))
        table = pa.Table.from_arrays([packed.input_ids, packed.pieces], schema=ROWS)
        batches += [batch for batch in table.to_batches() if len(batch)]
    return Rows(batches, context + 1, only_read) if batches else None


def first_place(tokens: Sequence[int], part: Sequence[int]) -> int:
    """Return where `part` first stands in `tokens`, -1 where it does not."""
    for place in range(len(tokens) - len(part) + 1):
        if list(tokens[place : place + len(part)]) == list(part):
            return place
    return -1
