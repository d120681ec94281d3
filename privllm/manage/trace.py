"""A document's way through the build, and into the models of older revisions.

    trace(Path(), "pages/heapq.html")   trace(Path(), "notes.jsonl#12")   trace(Path(), "<id>")   trace(Path(), "pages")

An id names a place among the sources, so what a revision knew by an id may have been an earlier version of the text.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from privllm.collect.documents import source_of
from privllm.collect.readers.registry import media_type
from privllm.core.base_model import DOCUMENTS
from privllm.core.errors import UserError
from privllm.core.records import document_id
from privllm.core.split import SPLITS
from privllm.engine.cache import find_cache
from privllm.manage.document_status import ABSENT, UNBUILT, Fate, fates, located, rows_of, sources_of
from privllm.manage.history import UNKNOWN, VERDICTS, Revision, revisions, verdicts
from privllm.manage.source_files import SOURCES, files_below, is_below, present, source_name
from privllm.tokens.trained_documents import read_documents

PROMOTED = Path("data/promoted/model/incumbent")
ID = re.compile(r"[0-9a-f]{32}")
SHOWN = 20  # documents of a table, revisions of a list
NEAR = 3
CANDIDATES = 20_000  # names that a misspelt one is compared with


class Standing(NamedTuple):
    """How many of the documents a revision trained on, held out, never saw; keys of `counts`: `history.VERDICTS`."""

    revision: Revision
    counts: dict[str, int]

    @property
    def held(self) -> int:
        """How many it is known to hold."""
        return sum(self.counts.get(name, 0) for name in SPLITS)


@dataclass
class Trace:
    asked: str
    documents: list[Fate]
    standings: list[Standing]  # newest first
    incumbent: int = 0  # how many of them the last promoted model was trained on

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        revisions = [
            {**standing.revision._asdict(), "documents": {name: standing.counts.get(name, 0) for name in VERDICTS}}
            for standing in self.standings
        ]
        return {
            "asked": self.asked,
            "documents": [asdict(fate) for fate in self.documents],
            "incumbent": self.incumbent,
            "revisions": revisions,
        }


def trace(root: Path, word: str) -> Trace:
    """What became of the document, or the documents, that `word` names: an id, or a path below data/sources.

    Raises UserError, with near names, where neither the sources, nor the build, nor a revision that can be asked knows it.
    """
    documents = _find(root, word)
    standings = standings_of(root, list(documents))
    found = fates(root, documents)
    there = present(root / SOURCES, [fate.source for fate in found if fate.fate == ABSENT and fate.source])
    for fate in found:
        fate.fate = UNBUILT if fate.source in there else fate.fate
    incumbent = carried(root, list(documents))
    if all(fate.fate == ABSENT for fate in found) and not any(standing.held for standing in standings) and not incumbent:
        raise UserError(_unknown(root, word, standings))
    return Trace(word, found, standings, incumbent)


def carried(root: Path, ids: list[str]) -> int:
    """How many of the documents `ids` the last promoted model was trained on, or one that it began with."""
    return len(set(ids) & set(read_documents(root / PROMOTED / DOCUMENTS)["id"].to_pylist()))


def standings_of(root: Path, ids: list[str]) -> list[Standing]:
    """What every revision did with the documents `ids`, newest first."""
    cache = find_cache(root)
    return [Standing(revision, dict(Counter(verdicts(revision, ids, cache).values()))) for revision in revisions(root)]


def _find(root: Path, word: str) -> dict[str, str]:
    """{id: source or ""} of what `word` names, whether it exists or not."""
    folder = root / SOURCES
    if ID.fullmatch(word) and not (folder / word).exists():
        row = rows_of(root / "data/collect", [word], ["id", "source"]).get(word)
        return {word: row["source"] if row else sources_of(root).get(word, "")}
    name = source_name(word, folder)
    found = located(root, name)
    path = folder / name
    for file in files_below(path) if path.is_dir() else []:
        source = source_of(file, folder)
        if media_type(file) and "/." not in f"/{source}" and not any(is_below(known, source) for known in found.values()):
            found[document_id(source)] = source
    return found or {document_id(name): name}


def _unknown(root: Path, word: str, standings: list[Standing]) -> str:
    known = sources_of(root)
    if ID.fullmatch(word):
        near = difflib.get_close_matches(word, [identifier for identifier in known if identifier[:2] == word[:2]], NEAR)
        names = [f"{identifier} ({known[identifier]})" for identifier in near]
    else:
        names = near_names(source_name(word, root / SOURCES), list(known.values()))
    asked = sum(not standing.counts.get(UNKNOWN) for standing in standings)
    told = f"{asked} of {len(standings)} revisions in git could be asked and never packed it" if standings else "git knows no earlier build"
    hint = f"Did you mean {' or '.join(names)}?" if names else f"A path is relative to {SOURCES}; `privllm trace .` lists all documents."
    return f"{word} is in neither {SOURCES} nor the build; {told}. {hint}"


def near_names(name: str, sources: list[str]) -> list[str]:
    """Sources that somebody who typed `name` may have meant, at most three."""
    last = name.rpartition("/")[2]
    same = sorted(source for source in sources if source.rpartition("/")[2] == last)
    return (same or difflib.get_close_matches(name, sorted(sources)[:CANDIDATES], NEAR))[:NEAR]


def lines_of(trace: Trace) -> Iterator[str]:
    """What a person reads."""
    yield from _one(trace.documents[0]) if len(trace.documents) == 1 else _many(trace)
    yield ""
    if trace.incumbent:
        which = "it" if len(trace.documents) == 1 else f"{trace.incumbent} of these"
        yield f"incumbent  the last promoted model ({PROMOTED}) was trained on {which}"
    yield from standing_lines(trace.standings, len(trace.documents))


def standing_lines(standings: list[Standing], documents: int) -> Iterator[str]:
    """One line per revision that trained on any of the documents, held some out, or cannot tell; the others are counted."""
    told = [standing for standing in standings if standing.held or standing.counts.get(UNKNOWN)]
    if not standings:
        yield "revisions  none in git yet: commit dvc.lock after a build"
        return
    yield f"revisions  {len(standings)} in git with packed documents, {len(standings) - len(told)} of them without {_them(documents)}"
    for standing in told[:SHOWN]:
        revision = standing.revision
        names = f" ({', '.join(revision.names)})" if revision.names else ""
        yield f"  {revision.commit}  {revision.date}  {_standing(standing, documents)}: {revision.subject}{names}"
    if len(told) > SHOWN:
        yield f"  and {len(told) - SHOWN} more (--json lists them)"
    if any(standing.counts.get(UNKNOWN) for standing in told):
        yield "  unknown: this DVC cache lacks what that revision was made of"


def _them(documents: int) -> str:
    return "it" if documents == 1 else "these"


def _standing(standing: Standing, documents: int) -> str:
    words = {name: f"held out ({name})" for name in SPLITS} | {UNKNOWN: UNKNOWN}
    words["train"] = "trained on" if standing.revision.model else "packed to train on, no model yet"
    parts = [(words[name], standing.counts[name]) for name in words if standing.counts.get(name)]
    return ", ".join(word if documents == 1 else f"{count} {word}" for word, count in parts)


def _one(fate: Fate) -> Iterator[str]:
    yield fate.source or fate.id
    yield f"  id         {fate.id}"
    yield f"  fate       {fate.fate}{f' ({fate.why})' if fate.why else ''}"
    if part := fate.collect:
        yield f"  collected  {part['media_type']}, {part['encoding']}, digest {part['digest']}, {part['shard']}"
    if part := fate.quarantine:
        yield f"  read       {part['bytes']:,} bytes, digest {part['digest'] or 'not taken'}, data/collect/quarantine"
    if part := fate.clean:
        language = f"{part['language']} ({part['language_score']:.2f})" if part["language"] else "language not asked"
        yield f"  cleaned    {'kept' if part['kept'] else 'dropped'}, {language}, {part['placeholders']} placeholders of personal data"
    if part := fate.dedup:
        yield f"  dedup      {'stays' if part['kept'] else 'dropped'}, cluster {part['cluster']}, survivor {part['survivor']}"
    if part := fate.pack:
        rows = f"rows {part['rows'][0]} to {part['rows'][1]} of {part['file']}" if part["rows"] else "no rows"
        rows += "".join(f", and again {first} to {last}" for first, last in part["again"])
        yield f"  packed     {part['split']}, {part['tokens']:,} tokens, {rows}"
    if fate.annotated is not None:
        yield f"  annotated  {'yes' if fate.annotated else 'no'}"


def _many(trace: Trace) -> Iterator[str]:
    counts = Counter(fate.fate for fate in trace.documents)
    yield f"{trace.asked}: {len(trace.documents)} documents"
    yield "  " + ", ".join(f"{count} {fate}" for fate, count in counts.most_common())
    shown = trace.documents[:SHOWN]
    width = max(len(fate.source) for fate in shown)
    for fate in shown:
        tokens = f", {fate.pack['tokens']:,} tokens" if fate.pack else ""
        yield f"  {fate.source:{width}}  {fate.fate}{f' ({fate.why})' if fate.why else ''}{tokens}"
    if len(trace.documents) > SHOWN:
        yield f"  and {len(trace.documents) - SHOWN} more (--json lists them)"
