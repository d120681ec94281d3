"""Which documents are annotated: as many as the budget of characters allows, chosen by id.

Those that judge the model come first (validation and test), then a share of those that train it, each part in the
order of a hash of the id. A document added or removed moves the end of the list by about itself and changes no other choice.
It reads the small columns of the corpus and keeps no text.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from privllm.core.seed import unit_interval
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import read_table

Candidate = tuple[bool, float, str, int, str, int]  # trains, place, id, shard, split, characters


def choose(
    sources: list[Path], split: SplitConfig, language: str, fraction: float, limit: int, max_characters: int
) -> list[dict[str, str]]:
    """For each shard {id: split} of its chosen documents, ids sorted.

    Only documents in `language` (ISO 639-1), or in one that nobody asked for, are candidates; of each the first
    `max_characters` count against `limit`.
    """
    found = [candidate for shard, path in enumerate(sources) for candidate in _candidates(path, shard, split, language, fraction)]
    chosen: list[dict[str, str]] = [{} for _ in sources]
    for _, _, identifier, shard, name, characters in sorted(found):
        limit -= min(characters, max_characters)
        if limit < 0:
            break
        chosen[shard][identifier] = name
    return [dict(sorted(of_shard.items())) for of_shard in chosen]


def _candidates(path: Path, shard: int, split: SplitConfig, language: str, fraction: float) -> Iterator[Candidate]:
    table = read_table(path, ["id", "cluster", "language", "text"])
    lengths = pc.utf8_length(table["text"]).to_pylist()
    columns = (table[name].to_pylist() for name in ("id", "cluster", "language"))
    for identifier, cluster, spoken, characters in zip(*columns, lengths, strict=True):
        name, place = split_of(split, cluster), unit_interval("annotate", identifier)
        if characters and spoken in ("", language) and (name != "train" or place < fraction):
            yield name == "train", place, identifier, shard, name, characters
