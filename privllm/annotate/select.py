"""Selection of the documents to annotate: as many as the budget of characters allows, by a hash of the id.

Documents that evaluate the model come first (validation and test), then a share of those that train
it, each group in the order of the hash. A document that is added or removed moves the end of the list
by about itself and changes no other choice. Only the small columns of the corpus are read.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from privllm.core.seed import unit_interval
from privllm.core.tables import read_table

Candidate = tuple[bool, float, str, int, str, int, str]  # trains, place, id, shard, split, characters, language


@dataclass
class Choice:
    """The documents to annotate, and what no pipeline is for."""

    split_by_id: list[dict[str, str]]  # of each shard, sorted by id
    language_of: dict[str, str] = field(default_factory=dict)  # by id, "" where it was not detected
    uncovered: Counter[str] = field(default_factory=Counter)  # documents that would be candidates, by language


def choose(sources: list[Path], languages: Collection[str], fraction: float, limit: int, max_characters: int) -> Choice:
    """Choose documents of each shard.

    Only documents in one of `languages` (ISO 639-1; "": in any), or whose language was not detected, are candidates; of
    each the first `max_characters` count against `limit`.
    """
    choice = Choice([{} for _ in sources])
    candidates: list[Candidate] = []
    for shard, path in enumerate(sources):
        for candidate in _candidates(path, shard, fraction):
            language = candidate[-1]
            if language in languages or not language or "" in languages:
                candidates.append(candidate)
            else:
                choice.uncovered[language] += 1
    remaining = limit
    for _, _, identifier, shard, split_name, characters, language in sorted(candidates):
        remaining -= min(characters, max_characters)
        if remaining < 0:
            break
        choice.split_by_id[shard][identifier] = split_name
        choice.language_of[identifier] = language
    choice.split_by_id = [dict(sorted(ids.items())) for ids in choice.split_by_id]
    return choice


def _candidates(path: Path, shard: int, fraction: float) -> Iterator[Candidate]:
    """Yield the documents of a shard that may be annotated."""
    table = read_table(path, ["id", "split", "language", "text"])
    lengths = pc.utf8_length(table["text"]).to_pylist()
    columns = [table[name].to_pylist() for name in ("id", "split", "language")]
    for identifier, split_name, language, characters in zip(*columns, lengths, strict=True):
        place = unit_interval("annotate", identifier)
        is_training = split_name == "train"
        if characters and (not is_training or place < fraction):
            yield is_training, place, identifier, shard, split_name, characters, language
