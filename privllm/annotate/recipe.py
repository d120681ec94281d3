"""annotate: spans of grammar and names beside a share of the documents.

data/dedup, data/base -> data/annotate (ANNOTATIONS, keyed by id; the text stays where it is)

By far the slowest stage for its bytes (some thousands of tokens a second and core), so it has a budget of characters.
The spans slice the evaluation by part of speech and by entity, can guide what is masked, and give labels to a derived task.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from privllm.annotate.select import choose
from privllm.annotate.spans import KEY, annotate_text, head_of, language_of, own_pipeline
from privllm.core.base_model import BASE
from privllm.core.params import require
from privllm.core.printable import say
from privllm.core.records import ANNOTATIONS
from privllm.core.report import add_up, balance
from privllm.core.split import SPLITS
from privllm.core.tables import read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.nlp import packaged_model

Files = tuple[tuple[str, Path], ...]  # (name below the pipeline's folder, path)
INLINE_BYTES = 256 << 10  # of shards: a second process must pay for loading the pipeline once more


@dataclass
class AnnotateConfig:
    # a spaCy pipeline: this one, of the extra `annotate`, or data/base/<name>, of your own
    model: str = packaged_model.NAME
    fraction: float = 0.1  # share of the training documents that are candidates, by id, [0, 1]
    limit: int = 400_000  # characters in all, >= 0; about 2 seconds a core for every 30,000
    max_characters: int = 10_000  # of one document, its first; [100, 100_000]

    def __post_init__(self) -> None:
        require(
            self.model == packaged_model.NAME or BASE.fullmatch(self.model) is not None,
            KEY,
            f"{packaged_model.NAME}, or data/base/<name> for a pipeline that you put there (`dvc add data/base/<name>`)",
        )
        require(0 <= self.fraction <= 1, "annotate.fraction", "a share between 0 and 1")
        require(self.limit >= 0, "annotate.limit", "a number of characters, 0 or more")
        require(
            100 <= self.max_characters <= 100_000,
            "annotate.max_characters",
            "a number of characters between 100 and 100,000",
        )


def annotate(
    cfg: AnnotateConfig,
    source: Path,
    base: Path,
    out: Path,
    store: Store = NO_STORE,
    splits: Sequence[str] = SPLITS,
) -> dict[str, Any]:
    """Write `out/NNNNN.parquet` (ANNOTATIONS) for every shard of `source`; return the counts.

    splits: those that something reads.

    Raises UserError when the model is not installed, or not below `base`.
    """
    sources = shards_of(source)
    location, language = cfg.model, packaged_model.LANGUAGE
    files: Files = ()
    if cfg.model != packaged_model.NAME:
        own = own_pipeline(cfg.model, base)
        location, language, files = str(own.folder), language_of(own), tuple(own.files())
    split_by_id = choose(sources, language, cfg.fraction, cfg.limit, cfg.max_characters)
    by_split: Counter[str] = Counter()
    jobs = []
    for path, split_of_document in zip(sources, split_by_id, strict=True):
        by_split.update(split_of_document.values())
        read_ids = tuple(identifier for identifier, name in split_of_document.items() if name in splits)
        jobs.append((path, location, files, read_ids, cfg.max_characters))
    unread = sum(count for name, count in by_split.items() if name not in splits)
    if unread:
        names = ", ".join(splits)
        say(
            f"note: {unread} documents are not annotated, since nothing that is built reads more than {names}.",
            err=True,
        )
    counts = add_up(store.map(annotate_shard, jobs, out, "annotate", inline_bytes=INLINE_BYTES))
    balance(by_split.total() - unread, counts.get("documents", 0))
    return _report(counts, {name: by_split[name] if name in splits else 0 for name in SPLITS}, unread)


def _report(counts: Mapping[str, int], by_split: dict[str, int], unread: int) -> dict[str, Any]:
    """Return the counts of all shards as they stand in the report."""
    report: dict[str, Any] = {key: counts.get(key, 0) for key in ("documents", "characters", "tokens", "entities")}
    report["by_pos"] = {}
    for key, count in counts.items():
        if key.startswith("pos "):
            report["by_pos"][key.removeprefix("pos ")] = count
    report["by_split"] = by_split
    if unread:
        report["unread"] = unread
    return report


def annotate_shard(
    out: Path, source: Path, location: str, files: Files, ids: tuple[str, ...], max_characters: int
) -> dict[str, int]:
    """Write the spans of the documents `ids` of one shard, sorted by id; return counts, tokens of a tag as "pos TAG".

    `files` are those of a pipeline of the user's own: the result depends on their content.
    """
    counts: Counter[str] = Counter()
    rows = []
    table = read_table(source, ["id", "text"])
    is_selected = pc.is_in(table["id"], pa.array(ids, pa.string()))
    for document in table.filter(is_selected).sort_by("id").to_pylist():
        text = head_of(document["text"], max_characters)
        spans = annotate_text(location, text)
        rows.append({"id": document["id"], **spans})
        counts["documents"] += 1
        counts["characters"] += len(text)
        counts["tokens"] += len(spans["pos"])
        counts["entities"] += len(spans["entity_label"])
        counts.update(f"pos {tag}" for tag in spans["pos"])
    write_table(pa.Table.from_pylist(rows, ANNOTATIONS), out / source.name)
    return dict(counts)
