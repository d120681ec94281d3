"""clean: markup to text, tidy, without personal data, in the languages asked for, worth learning from.

One document is one pure function, and nothing is dropped without a reason and a place. It compares no documents
with each other (dedup does) and splits none.

    >>> clean_document(CleanConfig(), "text/plain", "Write to bob@corp.example.").reason
    'too_short'
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from privllm.clean import html, language
from privllm.clean.clean_text import tidy
from privllm.clean.quality import QualityConfig, fault_of
from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.records import CLEAN, DROPPED
from privllm.core.report import add_up, balance
from privllm.core.tables import read_folder, read_table, shards_of, write_table
from privllm.engine.dropped import COLUMNS, write_list
from privllm.engine.store import NO_STORE, Before, Store

NAMED = 0.01  # share of the documents from which a language is named in the report
OTHERS = "others"
UNKNOWN = "unknown"  # language of a text that is too short to tell
LIST = "dropped.txt"  # beside the shards of what was dropped
Row = dict[str, Any]


@dataclass
class CleanConfig:
    max_html_characters: int = 64_000_000  # a page with more is dropped unparsed, [1,000, 1,000,000,000]
    languages: list[str] = field(default_factory=list)  # ISO 639-1 codes to keep, such as [en, de]; empty: all
    min_language_score: float = 0.65  # how sure the model must be before another language is dropped, [0, 1]
    quality: QualityConfig = field(default_factory=QualityConfig)

    def __post_init__(self) -> None:
        require(1_000 <= self.max_html_characters <= 1_000_000_000, "clean.max_html_characters", "between 1,000 and 1,000,000,000")
        require(0 <= self.min_language_score <= 1, "clean.min_language_score", "between 0 and 1")
        codes = all(code.isalpha() and code.islower() and len(code) in (2, 3) for code in self.languages)
        require(codes, "clean.languages", "a list of codes of two or three letters, such as [en, fr, 'no'] (no alone is false in YAML)")


@dataclass(frozen=True)
class Clean:
    text: str
    language: str  # "" where the text was too short to tell
    language_score: float
    placeholders: dict[str, int]  # how many of each kind


@dataclass(frozen=True)
class Dropped(Clean):
    """The text as far as it came, which is never further than personal data can: it is redacted, or empty."""

    reason: str
    detail: str


def clean_document(cfg: CleanConfig, media_type: str, text: str) -> Clean | Dropped:
    """`text` of one document through all steps; `media_type` "text/html" goes through the HTML parser first."""
    if media_type == "text/html":
        try:
            text = html.extract(text, cfg.max_html_characters)
        except html.Refused as refused:
            return Dropped("", "", 0.0, {}, *refused.args)
    text, placeholders = tidy(text)
    if not text.strip():
        return Dropped("", "", 0.0, {}, "empty", "no text in it")
    code, score = language.detect(text)
    fault = _foreign(cfg, code, score) or fault_of(cfg.quality, text, code)
    return Dropped(text, code, score, placeholders, *fault) if fault else Clean(text, code, score, placeholders)


def _foreign(cfg: CleanConfig, code: str, score: float) -> tuple[str, str] | None:
    if not cfg.languages or not code or code in cfg.languages or score < cfg.min_language_score:
        return None
    return "language", f"{code} ({score:.2f})"


def clean_shard(out: Path, cfg: CleanConfig, shard: Path, before: Before | None) -> dict[str, Any]:
    """One shard of DOCUMENTS into `out/NNNNN.parquet` and `out/dropped/NNNNN.parquet`.

    Returns {"counts": flat counts, "placeholders": {id: {kind: number}} of the documents that got some}.
    """
    last_time = last_results(before, shard.name)
    counts: Counter[str] = Counter(documents_in=0, kept=0, characters_in=0, characters_out=0)
    placeholders: dict[str, dict[str, int]] = {}
    kept: list[Row] = []
    dropped: list[Row] = []
    for document in sorted(read_table(shard).to_pylist(), key=lambda row: row["id"]):
        result = last_time.get(what_is_read(document)) or clean_document(cfg, document["media_type"], document["text"])
        counts.update({"documents_in": 1, "characters_in": len(document["text"]), f"language.{result.language or UNKNOWN}": 1})
        if result.placeholders:
            placeholders[document["id"]] = result.placeholders
        if isinstance(result, Dropped):
            counts[f"dropped.{result.reason}"] += 1
            dropped.append({**_row(document, result), "reason": result.reason, "detail": result.detail})
        else:
            counts.update(kept=1, characters_out=len(result.text))
            kept.append(_row(document, result))
    write_table(pa.Table.from_pylist(kept, CLEAN), out / shard.name)
    write_table(pa.Table.from_pylist(dropped, DROPPED), out / "dropped" / shard.name)
    return {"counts": dict(counts), "placeholders": placeholders}


def _row(document: Row, result: Clean) -> Row:
    return {
        **{key: document[key] for key in ("id", "source", "media_type", "digest")},
        **{"text": result.text, "language": result.language, "language_score": result.language_score},
        "placeholders": sum(result.placeholders.values()),
    }


def what_is_read(document: Row) -> tuple[str, str]:
    """Return all that `clean_document` reads of a document.

    Not its digest: the same raw bytes become another text where the code of `collect` was edited.
    """
    return document["media_type"], document["text"]


def last_results(before: Before | None, name: str) -> dict[tuple[str, str], Clean]:
    """Return what became of each document of the shard as it was last time, by what was read of it."""
    if before is None:
        return {}
    documents = read_table(before.inputs[name], ["id", "media_type", "text"]).to_pylist()
    inputs = {document["id"]: what_is_read(document) for document in documents}
    results: dict[tuple[str, str], Clean] = {}
    for file in (name, f"dropped/{name}"):
        for row in read_table(before.files[file]).to_pylist():
            placeholders = before.value["placeholders"].get(row["id"], {})
            result = Clean(row["text"], row["language"], row["language_score"], placeholders)
            if "reason" in row:
                result = Dropped(**vars(result), reason=row["reason"], detail=row["detail"])
            results[inputs[row["id"]]] = result
    return results


def _part(flat: dict[str, int], name: str) -> dict[str, int]:
    """{"empty": 1} for "dropped" of {"dropped.empty": 1}."""
    return {key.removeprefix(f"{name}."): number for key, number in flat.items() if key.startswith(f"{name}.")}


def _shares(languages: dict[str, int]) -> dict[str, float]:
    """Each language's share of all documents, kept or dropped; those below `NAMED` together."""
    total = max(1, sum(languages.values()))
    named = {code: number for code, number in languages.items() if number >= NAMED * total}
    rest = sum(languages.values()) - sum(named.values())
    return {code: round(number / total, 4) for code, number in (named | ({OTHERS: rest} if rest else {})).items()}


def spoken(report: dict[str, Any]) -> str:
    """The languages of a report in words: "de 70.6%, en 29.4%"."""
    shares = sorted(report["by_language"].items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{code} {share:.1%}" for code, share in shares)


def clean(cfg: CleanConfig, source: Path, out: Path, store: Store = NO_STORE) -> dict[str, Any]:
    """Clean every shard of the folder `source` (records.DOCUMENTS) into the folder `out`; returns the report.

    Raises UserError where `source` has no shards.
    """
    shards = shards_of(source)
    if not shards:
        raise UserError(f"{source} has no documents: put files into data/sources and run `dvc repro collect`.")
    results = store.map(clean_shard, [(cfg, shard) for shard in shards], out, "clean", resume=True)
    flat = add_up(result["counts"] for result in results)
    report: dict[str, Any] = {key: flat[key] for key in ("documents_in", "kept", "characters_in", "characters_out")}
    report["dropped"] = _part(flat, "dropped")
    report["by_language"] = _shares(_part(flat, "language"))
    report["placeholders"] = add_up(chain.from_iterable(result["placeholders"].values() for result in results))
    balance(report["documents_in"], report["kept"], *report["dropped"].values())
    write_list(read_folder(out / "dropped", list(COLUMNS)), out / "dropped" / LIST)
    return report
