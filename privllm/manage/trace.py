"""A document's way through the build, and into the models of older revisions.

    trace(Path(), "pages/heapq.html")   trace(Path(), "notes.jsonl#12")
    trace(Path(), "<id>")               trace(Path(), "pages")

An id names a place in the sources, so a revision may have had an earlier version of the text under it.
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
from privllm.engine.extensions import extensions_for
from privllm.manage.document_status import ABSENT, UNBUILT, Fate, fates, located, rows_of, sections_of, sources_of
from privllm.manage.git_revisions import UNKNOWN, VERDICTS, Revision, revisions, verdicts
from privllm.manage.source_files import SOURCES, files_below, is_below, present, read_options, source_name
from privllm.tokens.trained_documents import read_documents

PROMOTED = Path("data/promoted/model/incumbent")
ID = re.compile(r"[0-9a-f]{32}")
SHOWN = 20  # documents of a table, revisions of a list
NEAR = 3
CANDIDATES = 20_000  # names that a misspelt one is compared with


class RevisionHoldings(NamedTuple):
    """Counts of the documents that a revision trained on, held out or never had.

    Keys of `counts`: `git_revisions.VERDICTS`.
    """

    revision: Revision
    counts: dict[str, int]

    @property
    def documents(self) -> int:
        """Number of the documents that the revision is known to have packed."""
        return sum(self.counts.get(name, 0) for name in SPLITS)


@dataclass
class Trace:
    """Everything known of the documents that a person asked about."""

    asked: str
    documents: list[Fate]
    holdings: list[RevisionHoldings]  # newest first
    incumbent: int = 0  # how many of them the last promoted model was trained on

    def plain(self) -> dict[str, Any]:
        """Return the trace as JSON values."""
        revisions = []
        for holdings in self.holdings:
            counts = {name: holdings.counts.get(name, 0) for name in VERDICTS}
            revisions.append({**holdings.revision._asdict(), "documents": counts})
        return {
            "asked": self.asked,
            "documents": [asdict(fate) for fate in self.documents],
            "incumbent": self.incumbent,
            "revisions": revisions,
        }


def trace(root: Path, word: str) -> Trace:
    """Return what became of the documents that `word` names: an id, or a path below data/sources.

    Raises UserError, with similar names, where neither the sources, nor the build, nor any revision that
    the cache can answer for has such a document.
    """
    documents = _find(root, word)
    holdings = revision_holdings(root, list(documents))
    document_fates = fates(root, documents)
    absent_sources = [fate.source for fate in document_fates if fate.fate == ABSENT and fate.source]
    unbuilt_sources = present(root / SOURCES, absent_sources, read_options(root))
    for fate in document_fates:
        if fate.source in unbuilt_sources:
            fate.fate = UNBUILT
    incumbent = count_trained_on(root, list(documents))
    in_build = any(fate.fate != ABSENT for fate in document_fates)
    in_revision = any(revision.documents for revision in holdings)
    if not (in_build or in_revision or incumbent):
        raise UserError(_unknown_name(root, word, holdings))
    return Trace(word, document_fates, holdings, incumbent)


def count_trained_on(root: Path, ids: list[str]) -> int:
    """Return how many of the documents `ids` the last promoted model, or its base model, was trained on."""
    trained_documents = read_documents(root / PROMOTED / DOCUMENTS)
    return len(set(ids).intersection(trained_documents["id"].to_pylist()))


def revision_holdings(root: Path, ids: list[str]) -> list[RevisionHoldings]:
    """Return what every revision in git did with the documents `ids`, newest first."""
    cache = find_cache(root)
    holdings = []
    for revision in revisions(root):
        counts = Counter(verdicts(revision, ids, cache).values())
        holdings.append(RevisionHoldings(revision, dict(counts)))
    return holdings


def _find(root: Path, word: str) -> dict[str, str]:
    """Return {id: source or ""} of what `word` names, whether it exists or not."""
    folder = root / SOURCES
    if ID.fullmatch(word) and not (folder / word).exists():
        row = rows_of(root / "data/collect", [word], ["id", "source"]).get(word)
        source = row["source"] if row else sources_of(root).get(word, "")
        return sections_of(root, word, source) or {word: source}
    name = source_name(word, folder)
    documents = located(root, name)
    path = folder / name
    extensions = extensions_for("READERS", root)
    for file in files_below(path) if path.is_dir() else []:
        source = source_of(file, folder)
        is_hidden = "/." in f"/{source}"
        if not media_type(file, extensions) or is_hidden:
            continue
        if not any(is_below(built_source, source) for built_source in documents.values()):
            documents[document_id(source)] = source
    return documents or {document_id(name): name}


def _unknown_name(root: Path, word: str, holdings: list[RevisionHoldings]) -> str:
    """Return the message for a name that nothing knows, with similar names."""
    sources = sources_of(root)
    if ID.fullmatch(word):
        candidates = [identifier for identifier in sources if identifier[:2] == word[:2]]
        near = difflib.get_close_matches(word, candidates, NEAR)
        names = [f"{identifier} ({sources[identifier]})" for identifier in near]
    else:
        names = near_names(source_name(word, root / SOURCES), list(sources.values()))
    message = f"{word} is in neither {SOURCES} nor the build; "
    if holdings:
        checked = sum(not revision.counts.get(UNKNOWN) for revision in holdings)
        message += f"{checked} of {len(holdings)} revisions in git could be checked and do not have it. "
    else:
        message += "git has no earlier build. "
    if names:
        return f"{message}Did you mean {' or '.join(names)}?"
    return f"{message}A path is relative to {SOURCES}; `privllm trace .` lists all documents."


def near_names(name: str, sources: list[str]) -> list[str]:
    """Return sources that somebody who typed `name` may have meant, at most three."""
    file_name = name.rpartition("/")[2]
    same_file_name = sorted(source for source in sources if source.rpartition("/")[2] == file_name)
    if same_file_name:
        return same_file_name[:NEAR]
    return difflib.get_close_matches(name, sorted(sources)[:CANDIDATES], NEAR)


def lines_of(trace: Trace) -> Iterator[str]:
    """Yield the trace as lines for a terminal."""
    if len(trace.documents) == 1:
        yield from _document_lines(trace.documents[0])
    else:
        yield from _table_lines(trace)
    yield ""
    if trace.incumbent:
        documents = "it" if len(trace.documents) == 1 else f"{trace.incumbent} of these"
        yield f"incumbent  the last promoted model ({PROMOTED}) was trained on {documents}"
    yield from holdings_lines(trace.holdings, len(trace.documents))


def holdings_lines(holdings: list[RevisionHoldings], documents: int) -> Iterator[str]:
    """Yield a line for each revision that trained on any of the documents, held some out, or is unknown.

    The remaining revisions are only counted.
    """
    if not holdings:
        yield "revisions  none in git yet: commit dvc.lock after a build"
        return
    listed = [revision for revision in holdings if revision.documents or revision.counts.get(UNKNOWN)]
    pronoun = "it" if documents == 1 else "these"
    without = len(holdings) - len(listed)
    yield f"revisions  {len(holdings)} in git with packed documents, {without} of them without {pronoun}"
    for revision_documents in listed[:SHOWN]:
        revision = revision_documents.revision
        names = f" ({', '.join(revision.names)})" if revision.names else ""
        use = _describe_use(revision_documents, documents)
        yield f"  {revision.commit}  {revision.date}  {use}: {revision.subject}{names}"
    if len(listed) > SHOWN:
        yield f"  and {len(listed) - SHOWN} more (--json lists them)"
    if any(revision.counts.get(UNKNOWN) for revision in listed):
        yield "  unknown: this DVC cache lacks the packed documents of that revision"


def _describe_use(holdings: RevisionHoldings, documents: int) -> str:
    words = {name: f"held out ({name})" for name in SPLITS} | {UNKNOWN: UNKNOWN}
    words["train"] = "trained on" if holdings.revision.model else "packed to train on, no model yet"
    uses = []
    for verdict, word in words.items():
        count = holdings.counts.get(verdict)
        if count:
            uses.append(word if documents == 1 else f"{count} {word}")
    return ", ".join(uses)


def _fate_text(fate: Fate) -> str:
    return f"{fate.fate} ({fate.why})" if fate.why else fate.fate


def _document_lines(fate: Fate) -> Iterator[str]:
    yield fate.source or fate.id
    yield f"  id         {fate.id}"
    yield f"  fate       {_fate_text(fate)}"
    if row := fate.collect:
        yield f"  collected  {row['media_type']}, {row['encoding']}, digest {row['digest']}, {row['shard']}"
    if row := fate.quarantine:
        yield f"  read       {row['bytes']:,} bytes, digest {row['digest'] or 'not taken'}, data/collect/quarantine"
    if row := fate.clean:
        yield _clean_line(row)
    if row := fate.dedup:
        verdict = "kept" if row["kept"] else "dropped"
        yield f"  dedup      {verdict}, cluster {row['cluster']}, survivor {row['survivor']}"
    if row := fate.pack:
        yield _pack_line(row)
    if fate.annotated is not None:
        yield f"  annotated  {'yes' if fate.annotated else 'no'}"


def _clean_line(row: dict[str, Any]) -> str:
    language = "language not detected"
    if row["language"]:
        language = f"{row['language']} ({row['language_score']:.2f})"
    verdict = "kept" if row["kept"] else "dropped"
    return f"  cleaned    {verdict}, {language}, {row['placeholders']} placeholders of personal data"


def _pack_line(row: dict[str, Any]) -> str:
    rows = "no rows"
    if row["rows"]:
        runs = [str(first) if first == last else f"{first} to {last}" for first, last in row["rows"]]
        rows = f"rows {', '.join(runs)} of {row['file']}"
    copies = f", {row['copies']} times" if row["copies"] > 1 else ""
    return f"  packed     {row['split']}, {row['tokens']:,} tokens{copies}, {rows}"


def _table_lines(trace: Trace) -> Iterator[str]:
    counts = Counter(fate.fate for fate in trace.documents)
    yield f"{trace.asked}: {len(trace.documents)} documents"
    yield "  " + ", ".join(f"{count} {fate}" for fate, count in counts.most_common())
    listed = trace.documents[:SHOWN]
    width = max(len(fate.source) for fate in listed)
    for fate in listed:
        tokens = f", {fate.pack['tokens']:,} tokens" if fate.pack else ""
        yield f"  {fate.source:{width}}  {_fate_text(fate)}{tokens}"
    if len(trace.documents) > SHOWN:
        yield f"  and {len(trace.documents) - SHOWN} more (--json lists them)"
