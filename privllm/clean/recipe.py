"""clean: plain text in normal form, without personal data, in chosen languages, of good quality.

Cleaning a document is a pure function, and every dropped document has a named reason and a place.
A long document becomes sections, each judged by itself (`sections`). Documents are not compared with each other
(dedup does that).

    >>> clean_document(CleanConfig(), "text/plain", "Write to bob@corp.example.").reason
    'too_short'
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from privllm.clean import html, language, names
from privllm.clean.clean_text import clean_text
from privllm.clean.config import CleanConfig, rules_for
from privllm.clean.own_personal_data import personal_data
from privllm.clean.own_rules import own_fault_of, quality_rules
from privllm.clean.quality import Fault, fault_of, garbage_of
from privllm.clean.sections import cut
from privllm.core.errors import UserError
from privllm.core.records import ABOUT, CLEAN, DROPPED, document_id, whole_source
from privllm.core.report import add_up, balance
from privllm.core.tables import read_folder, read_table, shards_of, write_table
from privllm.engine.dropped import COLUMNS, write_list
from privllm.engine.extensions import NO_EXTENSIONS, Extensions
from privllm.engine.store import NO_STORE, Before, Store

MIN_NAMED_SHARE = 0.01  # of the documents, from which a language is named in the report
OTHERS = "others"
UNKNOWN = "unknown"  # language of a text that is too short to tell
LIST = "dropped.txt"  # beside the shards of dropped documents
FLAGGED_LIST = "flagged.txt"  # beside the shards of those that stay
MIXED = "mixed_languages"  # a flag, and no reason to drop a document
Row = dict[str, Any]
_FLAGS = pa.schema([(name, pa.string()) for name in COLUMNS])


@dataclass(frozen=True)
class Clean:
    """A document that is kept."""

    text: str
    language: str  # "" where the text was too short to tell
    language_score: float
    placeholders: dict[str, int]  # how many of each kind
    flag: Fault | None = field(default=None, kw_only=True)  # a rule that it breaks, though it is kept


@dataclass(frozen=True)
class Dropped(Clean):
    """A document that is dropped; its text is without personal data, or empty."""

    reason: str
    detail: str


def clean_document(
    cfg: CleanConfig, media_type: str, text: str, extensions: Extensions = NO_EXTENSIONS
) -> Clean | Dropped:
    """Return the document, uncut, after all steps; "text/html" is parsed first."""
    plain = _plain_text(cfg, media_type, text, extensions)
    return plain if isinstance(plain, Dropped) else _judged(cfg, *plain, extensions)


def clean_sections(
    cfg: CleanConfig, source: str, media_type: str, text: str, extensions: Extensions = NO_EXTENSIONS
) -> dict[str, Clean | Dropped]:
    """Return what becomes of a document by source: of its sections, or of the whole where it is not cut."""
    plain = _plain_text(cfg, media_type, text, extensions)
    if isinstance(plain, Dropped):
        return {source: plain}
    plain_text, placeholders = plain
    sections = cut(source, plain_text, cfg.section_words)
    if not sections:
        return {source: _judged(cfg, plain_text, placeholders, extensions)}
    results = {}
    left = Counter(placeholders)  # a text may have had such words before
    for section in sections:
        found = Counter({kind: min(section.text.count(f"<{kind}>"), left[kind]) for kind in placeholders})
        left -= found
        results[section.source] = _judged(cfg, section.text, dict(+found), extensions)
    return results


def _plain_text(
    cfg: CleanConfig, media_type: str, text: str, extensions: Extensions
) -> tuple[str, dict[str, int]] | Dropped:
    """Return the clean text and its placeholders by kind, before it is judged."""
    if media_type == "text/html":
        try:
            text = html.extract(text, cfg.max_html_characters, cfg.format)
        except html.ParsingTooCostly as error:
            return Dropped("", "", 0.0, {}, *error.args)
    text, placeholders = clean_text(text, extensions, cfg.pii)
    if not text.strip():
        return Dropped("", "", 0.0, {}, "empty", "no text in it")
    return text, placeholders


def _judged(cfg: CleanConfig, text: str, placeholders: dict[str, int], extensions: Extensions) -> Clean | Dropped:
    (code, score), *others = language.detect_all(text)
    fault = _foreign(cfg, code, score) or garbage_of(text)
    flag = None if fault else fault_of(cfg.quality, text, code)
    if cfg.profile == "web":
        fault = fault or flag
    fault = fault or own_fault_of(extensions, text, code)
    if fault:
        return Dropped(text, code, score, placeholders, *fault)
    if others and not flag:
        flag = MIXED, ", ".join(f"{name} ({part:.2f})" for name, part in [(code, score), *others])
    return Clean(text, code, score, placeholders, flag=flag)


def text_cleaner(cfg: CleanConfig, extensions: Extensions) -> Callable[[str], tuple[str, dict[str, int]]]:
    """Return `clean_text` with these parameters: for what people say, in which no document is dropped."""
    return partial(clean_text, extensions=extensions, pii=cfg.pii)


def _foreign(cfg: CleanConfig, code: str, score: float) -> tuple[str, str] | None:
    """Return (reason, detail) where the language is certain and not one of those configured."""
    if not cfg.languages or not code:
        return None
    if code in cfg.languages or score < cfg.min_language_score:
        return None
    return "language", f"{code} ({score:.2f}), kept: {', '.join(cfg.languages)}"


def clean_shard(
    out: Path, cfg: CleanConfig, extensions: Extensions, shard: Path, before: Before | None
) -> dict[str, Any]:
    """Clean one shard of DOCUMENTS into `out/NNNNN.parquet` and `out/dropped/NNNNN.parquet`.

    Returns {"counts": flat counts, "placeholders": {id: {kind: number}} of the documents that got
    some, "flags": {id: {source, reason, detail}} of those that are kept and break a rule}.
    """
    last_time = last_results(before, shard.name)
    counts: Counter[str] = Counter(documents_in=0, cut=0, sections=0, kept=0, characters_in=0, characters_out=0)
    placeholders: dict[str, dict[str, int]] = {}
    flags: dict[str, dict[str, str]] = {}
    clean_rows: list[Row] = []
    dropped_rows: list[Row] = []
    for document in read_table(shard).to_pylist():
        results = last_time.get(inputs_of_cleaning(document))
        if results is None:
            results = _clean_row(cfg, extensions, document)
        about = _about(cfg, extensions, document)
        counts["documents_in"] += 1
        counts["characters_in"] += len(document["text"])
        if results.keys() != {document["source"]}:
            counts["cut"] += 1
            counts["sections"] += len(results)
        for source, result in results.items():
            counts[f"language.{result.language or UNKNOWN}"] += 1
            if cfg.pii.names == names.REPLACE and result.language not in names.LANGUAGES:
                counts["names_unsearched"] += 1
            row = _row(document, source, result) | about
            if result.placeholders:
                placeholders[row["id"]] = result.placeholders
            if result.flag:
                reason, detail = result.flag
                flags[row["id"]] = {"source": source, "reason": reason, "detail": detail}
            if isinstance(result, Dropped):
                counts[f"dropped.{result.reason}"] += 1
                dropped_rows.append(row | {"reason": result.reason, "detail": result.detail})
            else:
                counts["kept"] += 1
                counts["characters_out"] += len(result.text)
                clean_rows.append(row)
    clean_rows.sort(key=itemgetter("id"))
    dropped_rows.sort(key=itemgetter("id"))
    write_table(pa.Table.from_pylist(clean_rows, CLEAN), out / shard.name)
    write_table(pa.Table.from_pylist(dropped_rows, DROPPED), out / "dropped" / shard.name)
    return {"counts": dict(counts), "placeholders": placeholders, "flags": flags}


def _clean_row(cfg: CleanConfig, extensions: Extensions, document: Row) -> dict[str, Clean | Dropped]:
    """Return `clean_sections` of a row. Raises UserError, with its source, where an extension fails on it."""
    try:
        return clean_sections(
            rules_for(document["source"], cfg), document["source"], document["media_type"], document["text"], extensions
        )
    except UserError as error:
        raise UserError(f"{error} The document is {document['source']}.") from error


def _about(cfg: CleanConfig, extensions: Extensions, document: Row) -> dict[str, str]:
    """Return what the document says of itself, without personal data; an author is a person where names are replaced."""
    told = {name: document.get(name) or "" for name, _ in ABOUT}
    for name in ("title", "author"):
        if told[name]:
            told[name] = " ".join(clean_text(told[name], extensions, cfg.pii)[0].split())
    if told["author"] and cfg.pii.names == names.REPLACE:
        told["author"] = f"<{names.KIND}_1>"
    return told


def _row(document: Row, source: str, result: Clean) -> Row:
    """Return a row of CLEAN: of a document, or of its section `source`."""
    return {
        "id": document["id"] if source == document["source"] else document_id(source),
        "source": source,
        "media_type": document["media_type"],
        "digest": document["digest"],
        "text": result.text,
        "language": result.language,
        "language_score": result.language_score,
        "placeholders": sum(result.placeholders.values()),
    }


def inputs_of_cleaning(document: Row) -> tuple[str, str, str]:
    """Return all that `clean_sections` reads of a document.

    Not its digest: the same raw bytes become another text where the code of `collect` was edited.
    """
    return document["source"], document["media_type"], document["text"]


def last_results(before: Before | None, name: str) -> dict[tuple[str, str, str], dict[str, Clean]]:
    """Return the last run's results for the shard `name`, {source: result}, by what was read of each document."""
    if before is None:
        return {}
    documents = read_table(before.inputs[name], ["source", "media_type", "text"]).to_pylist()
    inputs = {document["source"]: inputs_of_cleaning(document) for document in documents}
    results: dict[tuple[str, str, str], dict[str, Clean]] = {}
    for file in (name, f"dropped/{name}"):
        for row in read_table(before.files[file]).to_pylist():
            placeholders = before.value["placeholders"].get(row["id"], {})
            flag = before.value["flags"].get(row["id"])
            flag = (flag["reason"], flag["detail"]) if flag else None
            result = Clean(row["text"], row["language"], row["language_score"], placeholders, flag=flag)
            if "reason" in row:
                result = Dropped(**vars(result), reason=row["reason"], detail=row["detail"])
            source = row["source"]
            document = source if source in inputs else whole_source(source)
            results.setdefault(inputs[document], {})[source] = result
    return results


def _counts_below(counts: dict[str, int], name: str) -> dict[str, int]:
    """Return the counts below `name`: {"empty": 1} of {"dropped.empty": 1} for "dropped"."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): count for key, count in counts.items() if key.startswith(prefix)}


def _shares(languages: dict[str, int]) -> dict[str, float]:
    """Return each language's share of all documents; rare languages are added up as `OTHERS`."""
    total = max(1, sum(languages.values()))
    counts = {code: count for code, count in languages.items() if count >= MIN_NAMED_SHARE * total}
    rare = sum(languages.values()) - sum(counts.values())
    if rare:
        counts[OTHERS] = rare
    return {code: round(count / total, 4) for code, count in counts.items()}


def judged(report: dict[str, Any]) -> int:
    """Return how many documents and sections of documents were kept or dropped."""
    return int(report["documents_in"] - report["cut"] + report["sections"])


def describe_languages(report: dict[str, Any]) -> str:
    """Return the languages of a report in words: "de 70.6%, en 29.4%"."""
    shares = report["by_language"]
    codes = sorted(shares, key=lambda code: (-shares[code], code))
    return ", ".join(f"{code} {shares[code]:.1%}" for code in codes)


def clean(
    cfg: CleanConfig, source: Path, out: Path, store: Store = NO_STORE, extensions: Extensions = NO_EXTENSIONS
) -> dict[str, Any]:
    """Clean every shard of `source` (records.DOCUMENTS) into `out`; return the report.

    Raises UserError where `source` has no shards, or an extension cannot be used.
    """
    shards = shards_of(source)
    if not shards:
        raise UserError(f"{source} has no documents: put files into data/sources and run `dvc repro collect`.")
    quality_rules(extensions), personal_data(extensions)  # now, so that workers are forked with them
    if cfg.pii.names == names.REPLACE:
        names.require_recogniser()
    results = store.map(clean_shard, [(cfg, extensions, shard) for shard in shards], out, "clean", resume=True)
    counts = add_up(result["counts"] for result in results)
    placeholders = chain.from_iterable(result["placeholders"].values() for result in results)
    flags = list(chain.from_iterable(result["flags"].values() for result in results))
    report: dict[str, Any] = {
        "documents_in": counts["documents_in"],
        "cut": counts["cut"],  # of the documents
        "sections": counts["sections"],  # that these became
        "kept": counts["kept"],
        "characters_in": counts["characters_in"],
        "characters_out": counts["characters_out"],
        "dropped": _counts_below(counts, "dropped"),
        "flagged": dict(sorted(Counter(flag["reason"] for flag in flags).items())),
        "by_language": _shares(_counts_below(counts, "language")),
        "placeholders": add_up(placeholders),
    }
    if "names_unsearched" in counts:
        report["names_unsearched"] = counts["names_unsearched"]  # documents in other languages than the recogniser's
    balance(judged(report), report["kept"], *report["dropped"].values())
    write_list(read_folder(out / "dropped", list(COLUMNS)), out / "dropped" / LIST)
    write_list(pa.Table.from_pylist(flags, _FLAGS), out / FLAGGED_LIST)
    return report
