"""Selection of the documents to annotate: as many as the budget of characters allows, by a hash of the id.

Documents that evaluate the model come first (validation and test), then a share of those that train
it, each group in the order of the hash. A document that is added or removed moves the end of the list
by about itself and changes no other choice. Only the small columns of the corpus are read.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from privllm.core.seed import unit_interval
from privllm.core.tables import read_table

Candidate = tuple[bool, float, str, int, str, int]  # trains, place, id, shard, split, characters


def choose(
    sources: list[Path], language: str, fraction: float, limit: int, max_characters: int
) -> list[dict[str, str]]:
    """Return {id: split} of the chosen documents of each shard, sorted by id.

    Only documents in `language` (ISO 639-1; "": in any), or whose language was not detected, are candidates; of
    each the first `max_characters` count against `limit`.
    """
    candidates: list[Candidate] = []
    for shard, path in enumerate(sources):
        candidates += _candidates(path, shard, language, fraction)
    remaining = limit
    by_shard: list[dict[str, str]] = [{} for _ in sources]
    for _, _, identifier, shard, split_name, characters in sorted(candidates):
        remaining -= min(characters, max_characters)
        if remaining < 0:
            break
        by_shard[shard][identifier] = split_name
    return [dict(sorted(ids.items())) for ids in by_shard]


def _candidates(path: Path, shard: int, language: str, fraction: float) -> Iterator[Candidate]:
    table = read_table(path, ["id", "split", "language", "text"])
    lengths = pc.utf8_length(table["text"]).to_pylist()
    columns = [table[name].to_pylist() for name in ("id", "split", "language")]
    for identifier, split_name, document_language, characters in zip(*columns, lengths, strict=True):
        if not characters or (language and document_language not in ("", language)):
            continue
        place = unit_interval("annotate", identifier)
        is_training = split_name == "train"
        if not is_training or place < fraction:
            yield is_training, place, identifier, shard, split_name, characters
