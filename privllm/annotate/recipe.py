"""annotate: spans of grammar and names beside a share of the documents.

data/dedup, data/base -> data/annotate (ANNOTATIONS, keyed by id; the text stays where it is)

By far the slowest stage for its bytes (some thousands of tokens a second and core), so it has a budget of characters.
The spans slice the evaluation by part of speech and by entity, can guide what is masked, and give labels to a derived task.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from privllm.annotate.select import choose
from privllm.annotate.spans import KEY, Pipeline, annotate_text, head_of, pipeline_for, pipelines_of
from privllm.core.base_model import BASE
from privllm.core.params import require
from privllm.core.printable import say
from privllm.core.records import ANNOTATIONS
from privllm.core.report import add_up, balance
from privllm.core.split import SPLITS
from privllm.core.tables import read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.nlp import packaged_model

MAX_NAMED = 5  # languages without a pipeline
INLINE_BYTES = 256 << 10  # of shards: a second process must pay for loading the pipeline once more


@dataclass
class AnnotateConfig:
    # spaCy pipelines, one for a language: this one, of the extra `annotate`, and data/base/<name>, of your own
    models: list[str] = field(default_factory=lambda: [packaged_model.NAME])
    fraction: float = 0.1  # share of the training documents that are candidates, by id, [0, 1]
    limit: int = 400_000  # characters in all, >= 0; about 2 seconds a core for every 30,000
    max_characters: int = 10_000  # of one document, its first; [100, 100_000]

    def __post_init__(self) -> None:
        require(
            bool(self.models) and all(map(_is_model, self.models)),
            KEY,
            f"a list of {packaged_model.NAME} and data/base/<name>, for pipelines that you put there (`dvc add data/base/<name>`)",
        )
        require(0 <= self.fraction <= 1, "annotate.fraction", "a share between 0 and 1")
        require(self.limit >= 0, "annotate.limit", "a number of characters, 0 or more")
        require(
            100 <= self.max_characters <= 100_000,
            "annotate.max_characters",
            "a number of characters between 100 and 100,000",
        )


def _is_model(name: str) -> bool:
    return name == packaged_model.NAME or BASE.fullmatch(name) is not None


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

    Raises UserError when a pipeline is not installed, or not below `base`.
    """
    sources = shards_of(source)
    pipelines = pipelines_of(cfg.models, base)
    languages = {pipeline.language for pipeline in pipelines}
    choice = choose(sources, languages, cfg.fraction, cfg.limit, cfg.max_characters)
    by_split: Counter[str] = Counter()
    jobs = []
    for path, split_of_document in zip(sources, choice.split_by_id, strict=True):
        by_split.update(split_of_document.values())
        read_ids = tuple(identifier for identifier, name in split_of_document.items() if name in splits)
        # Those alone, so that a new pipeline leaves the shards as they are that do not need it.
        used = {pipeline_for(choice.language_of[identifier], pipelines) for identifier in read_ids}
        shard_pipelines = tuple(pipeline for pipeline in pipelines if pipeline in used)
        jobs.append((path, shard_pipelines, read_ids, cfg.max_characters))
    unread = sum(count for name, count in by_split.items() if name not in splits)
    if unread:
        names = ", ".join(splits)
        say(
            f"note: {unread} documents are not annotated, since nothing that is built reads more than {names}.",
            err=True,
        )
    counts = add_up(store.map(annotate_shard, jobs, out, "annotate", inline_bytes=INLINE_BYTES))
    balance(by_split.total() - unread, counts.get("documents", 0))
    if cfg.limit:
        _say_uncovered(choice.uncovered, by_split.total())
    report = _report(counts, {name: by_split[name] if name in splits else 0 for name in SPLITS}, unread)
    return report | {"uncovered": dict(sorted(choice.uncovered.items()))}


def _say_uncovered(uncovered: Counter[str], chosen: int) -> None:
    """Print how many documents have no pipeline for their language."""
    if not uncovered:
        return
    languages = ", ".join(f"{language} {count}" for language, count in uncovered.most_common(MAX_NAMED))
    of_others = f" and {len(uncovered) - MAX_NAMED} more" if len(uncovered) > MAX_NAMED else ""
    say(
        f"annotate has no pipeline for the language of {uncovered.total()} documents ({languages}{of_others}), beside {chosen} "
        f"that it chose: name one in `{KEY}`."
    )


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
    out: Path, source: Path, pipelines: tuple[Pipeline, ...], ids: tuple[str, ...], max_characters: int
) -> dict[str, int]:
    """Write the spans of the documents `ids` of one shard, sorted by id; return counts, tokens of a tag as "pos TAG"."""
    counts: Counter[str] = Counter()
    rows = []
    table = read_table(source, ["id", "language", "text"])
    is_selected = pc.is_in(table["id"], pa.array(ids, pa.string()))
    for document in table.filter(is_selected).sort_by("id").to_pylist():
        text = head_of(document["text"], max_characters)
        spans = annotate_text(pipeline_for(document["language"], pipelines).location, text)
        rows.append({"id": document["id"], **spans})
        counts["documents"] += 1
        counts["characters"] += len(text)
        counts["tokens"] += len(spans["pos"])
        counts["entities"] += len(spans["entity_label"])
        counts.update(f"pos {tag}" for tag in spans["pos"])
    write_table(pa.Table.from_pylist(rows, ANNOTATIONS), out / source.name)
    return dict(counts)
