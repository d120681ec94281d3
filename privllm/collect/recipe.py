"""collect: every document below the sources as one row, whatever its format and encoding.

`collect` reads each file once, in groups, on all cores, and sorts what they say into shards by id. What cannot be
read is kept as a row of the quarantine with a named reason; nothing is passed over in silence. Text is as it came:
HTML is still HTML here, and personal data is still in it.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from privllm.collect.buckets import Runs, merge_quarantine, merge_shards
from privllm.collect.files import JSONL, MEDIA_TYPES, Document, Refused, Survey, media_type, read_file, size_or_zero, source_of, survey
from privllm.collect.jsonl import read_jsonl
from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.records import MAX_SHARD_BITS
from privllm.core.report import add_up, balance
from privllm.core.shards import map_shards

GROUP_BYTES = 16 << 20
GROUP_FILES = 2000
MERGE_JOBS = 64


@dataclass
class CollectConfig:
    shard_bits: int = 4  # the corpus is cut into 2^shard_bits shards, [0, 12]; a change rebuilds everything
    max_megabytes: float = 64  # a longer file, or line of a JSONL, is quarantined; (0, 1024]

    def __post_init__(self) -> None:
        require(0 <= self.shard_bits <= MAX_SHARD_BITS, "collect.shard_bits", f"a whole number from 0 to {MAX_SHARD_BITS}")
        require(0 < self.max_megabytes <= 1024, "collect.max_megabytes", "above 0 and at most 1024")


def collect(cfg: CollectConfig, sources: Path, out: Path) -> dict[str, Any]:
    """Read `sources` into `out/00000.parquet` ... (records.DOCUMENTS) and `out/quarantine/` (records.QUARANTINE).

    Returns counts: entries (files, and lines of JSONL) = documents + quarantined. Raises UserError where no document is left.
    """
    max_bytes = int(cfg.max_megabytes * 1e6)
    if not sources.is_dir():
        raise UserError(f"{sources} is missing: put documents ({' '.join(MEDIA_TYPES)}) there, or run `privllm demo`.")
    found = survey(sources, max_bytes)
    _clear(out)
    partial = out / ".partial"
    partial.mkdir(parents=True)
    try:
        jobs = [(partial / f"{index:06d}", sources, max_bytes, *files) for index, files in enumerate(groups(found.files))]
        counts = _sum(map_shards(read_group, jobs, "collect"))
        quarantined = merge_quarantine(out / "quarantine", found.refused, sorted(partial.glob("*.quarantine")))
        documents = _merge(out, cfg.shard_bits, sorted(partial.glob("*.documents")))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    balance(counts["entries"] + len(found.refused), documents, sum(quarantined.values()))
    if not documents:
        raise UserError(_nothing(sources, out, found, quarantined))
    files = len(found.files) + len(found.refused)
    entries = counts.pop("entries") + len(found.refused)
    return {"files": files, "ignored": found.ignored, "entries": entries, "documents": documents, "quarantined": quarantined, **counts}


def read_group(stem: Path, sources: Path, max_bytes: int, *files: Path) -> dict[str, Any]:
    """Read `files` into runs named after `stem`; returns what was counted."""
    runs = Runs(stem)
    kinds: Counter[str] = Counter()
    encodings: Counter[str] = Counter()
    entries = characters = 0
    for row in chain.from_iterable(_rows(path, sources, max_bytes) for path in files):
        runs.add(row)
        entries += 1
        if isinstance(row, Document):
            characters += len(row.text)
            kinds[row.media_type] += 1
            encodings[row.encoding] += 1
    runs.flush()
    return {"totals": {"entries": entries, "characters": characters}, "by_media_type": dict(kinds), "by_encoding": dict(encodings)}


def _rows(path: Path, sources: Path, max_bytes: int) -> Iterator[Document | Refused]:
    if media_type(path) == JSONL:
        blank = True
        for row in read_jsonl(path, sources, max_bytes):
            blank = False
            yield row
        if blank:
            yield Refused(source_of(path, sources), "", size_or_zero(path), "empty", "nothing but blank lines")
    else:
        yield read_file(path, sources)


def groups(files: list[tuple[Path, int]]) -> list[list[Path]]:
    """Neighbouring files in groups that are worth a job each, and fit in memory unless one file alone does not."""
    target = min(GROUP_BYTES, max(1 << 20, sum(size for _, size in files) // 16))
    made: list[list[Path]] = []
    held = 0
    for path, size in files:
        if not made or held + size > target or len(made[-1]) >= GROUP_FILES:
            made.append([])
            held = 0
        made[-1].append(path)
        held += size
    return made


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The groups' counts, added up."""
    totals = add_up([{"entries": 0, "characters": 0}, *(part["totals"] for part in parts)])
    return {**totals, **{key: add_up(part[key] for part in parts) for key in ("by_media_type", "by_encoding")}}


def _merge(out: Path, bits: int, runs: list[Path]) -> int:
    step = max(1, 2**bits // MERGE_JOBS)
    jobs = [(out, bits, first, first + step, *runs) for first in range(0, 2**bits, step)]
    return sum(map_shards(merge_shards, jobs, "sort"))


def _clear(out: Path) -> None:
    """Remove what an earlier run left: with other parameters its shards would stand beside the new ones."""
    for folder in (out / ".partial", out / "quarantine"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in out.glob("*.parquet*"):
        path.unlink()


def _nothing(sources: Path, out: Path, found: Survey, quarantined: dict[str, int]) -> str:
    if not quarantined:
        return f"{sources} holds no documents: put files ({' '.join(MEDIA_TYPES)}) there, or run `privllm demo` for some to try."
    reasons = ", ".join(f"{count} {reason}" for reason, count in quarantined.items())
    examples = ", ".join(row.source for row in sorted(found.refused)[:3])
    seen = f" (for example {examples})" if examples else ""
    lines = " A line of JSONL needs its text under the key `text`." if "no_text" in quarantined else ""
    return (
        f"none of the {sum(quarantined.values())} entries in {sources} can be read: {reasons}{seen}. "
        f"{out / 'quarantine' / 'quarantine.parquet'} says why for each; add files ({' '.join(MEDIA_TYPES)}), or run `privllm demo`.{lines}"
    )
