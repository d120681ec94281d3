"""Removal of what people said: out of the database and data/feedback, then a build that is proved to lack it.

Sought in the build are the records' ids, the digests of their lines, the pseudonym of a person of whom
nothing remains, and runs of 13 words that people wrote, raw and cleaned, unless remaining records
have them too. What a model replied is its own, and its documents'. As in `forget`, a note of all that
is written first, so the same command continues after an interruption.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from privllm.clean.recipe import CleanConfig, text_cleaner
from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.core.seed import digest
from privllm.core.tables import write_table
from privllm.core.work_paths import FORGET_FEEDBACK_NOTE
from privllm.engine.extensions import extensions_for
from privllm.engine.pipeline import PIPELINE
from privllm.feedback.files import remove_lines, remove_partial, select_lines
from privllm.feedback.wanted import Wanted, pseudonym_of, record_key
from privllm.manage.forget import ForgetOptions, rebuild, source_reader
from privllm.manage.forget_report import counted, purge_lines
from privllm.manage.forgotten_documents import TRACES, ForgottenDocuments, hash_word_runs, load
from privllm.manage.tracked_input import track
from privllm.manage.verify_removal import prove_removal

FEEDBACK = Path("data/feedback")
NAMED = 5
BEGINNING = 120  # characters of a record that lie together in the database: id and rater among them
CleanText = Callable[[str], tuple[str, dict[str, int]]]


class Store(Protocol):
    """The server's database, as far as it is asked here."""

    def lines(self) -> list[str]:
        """Return every record, as a line of a file holds it."""
        ...

    def forget(self, selects: Callable[[Any, str], bool]) -> int:
        """Delete records, those kept by the next export included; return how many there were."""
        ...

    def holds(self, texts: Iterable[str]) -> bool:
        """Return whether the bytes of the files still hold one of `texts`."""
        ...


class Line(NamedTuple):
    """A line of a file, or a record of the database."""

    plain: Any  # as JSON; None where it is none
    text: str

    @property
    def key(self) -> str:
        return record_key(self.plain, self.text)


@dataclass(frozen=True)
class Found:
    """What is to be forgotten, and what remains."""

    selected: list[Line]
    remaining: list[Line]
    files: dict[Path, int]  # lines to be taken out
    in_database: int

    @property
    def keys(self) -> set[str]:
        return {line.key for line in self.selected}

    def selects(self, plain: Any, line: str) -> bool:
        """Return whether a line is one of these, or another edition of one."""
        return record_key(plain, line) in self.keys


def forget_feedback(root: Path, wanted: Wanted, store: Store, options: ForgetOptions) -> None:
    """Forget the ratings and votes that are `wanted`, and those of earlier unfinished calls.

    Raises UserError where nothing is found, where the build fails, and where a trace is left.
    """
    note = root / FORGET_FEEDBACK_NOTE
    found, unfinished = look_up(root, wanted, store), load(note)
    if not found.selected and not len(unfinished):
        raise UserError(
            f"neither the database nor {FEEDBACK} holds such a rating or vote, so nothing was removed. A name is "
            "matched whole, words as they are written (case and spaces apart)."
        )
    for line in _removal_lines(root, found, unfinished):
        options.say(line)
    if options.ask and not options.ask("Remove them?" if found.selected else "Go on?"):
        raise UserError("nothing was removed.")
    has_build = (root / PIPELINE).is_file()
    clean = _cleaner(root) if has_build else None
    forgotten = unfinished.merged_with(traces_of(found, clean))
    note.parent.mkdir(parents=True, exist_ok=True)
    write_table(forgotten.table, note)
    if found.selected:
        _remove(root, found, store)
        options.say("Removed them from the database and from the files.")
        _require_gone(root, found, store)
    if not has_build:
        options.say("There is no build here, so nothing else holds them.")
        note.unlink()
    elif not options.repro:
        options.say("Nothing is rebuilt or proved yet: run `dvc repro`, or this command again without --no-repro.")
    else:
        rebuild(root, f"The records are removed from {FEEDBACK}")
        _prove(root, forgotten, options)
        note.unlink()


def _remove(root: Path, found: Found, store: Store) -> None:
    store.forget(found.selects)
    remove_partial(root / FEEDBACK)
    for path in remove_lines(root / FEEDBACK, found.selects):
        if path.with_name(f"{path.name}.dvc").is_file():
            track(root, path.relative_to(root))


def look_up(root: Path, wanted: Wanted, store: Store) -> Found:
    """Return the records that are wanted, and all editions of each."""
    in_files = select_lines(root / FEEDBACK, lambda plain, line: True)
    lines_of = {path: [_line(line.decode("utf-8", "replace")) for line in lines] for path, lines in in_files.items()}
    in_database = [_line(text) for text in store.lines()]
    lines = [*in_database, *(line for lines in lines_of.values() for line in lines)]
    keys = {line.key for line in lines if wanted.selects(line.plain, line.text)}
    counts = {path: sum(line.key in keys for line in lines) for path, lines in lines_of.items()}
    return Found(
        selected=[line for line in lines if line.key in keys],
        remaining=[line for line in lines if line.key not in keys],
        files={path: count for path, count in counts.items() if count},
        in_database=sum(line.key in keys for line in in_database),
    )


def _line(text: str) -> Line:
    try:
        return Line(json.loads(text.removeprefix("\ufeff")), text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return Line(None, text)


def traces_of(found: Found, clean: CleanText | None) -> ForgottenDocuments:
    """Return what to search the build for."""
    remaining = _runs([text for line in found.remaining for text in written_by_people(line)], clean)
    rows: dict[str, dict[str, Any]] = {}
    for line in found.selected:
        runs = np.setdiff1d(_runs(list(written_by_people(line)), clean), remaining)
        row = rows.setdefault(line.key, {"id": line.key, "source": line.key, "digests": [], "runs": runs})
        row["digests"].append(digest(line.text.encode("utf-8", "surrogatepass")))
        row["runs"] = np.union1d(row["runs"], runs)
    raters = {_rater(line) for line in found.selected} - {_rater(line) for line in found.remaining}
    for pseudonym in sorted(pseudonym_of(rater) for rater in raters - {""}):
        rows[pseudonym] = {"id": pseudonym, "source": pseudonym, "digests": [], "runs": np.zeros(0, np.uint64)}
    return ForgottenDocuments(pa.Table.from_pylist(list(rows.values()), TRACES))


def written_by_people(line: Line) -> Iterator[str]:
    """Yield the texts of a record that a person wrote; all of a line that is no record."""
    if not isinstance(line.plain, dict):
        yield line.text
        return
    messages = line.plain.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("role") != "assistant":
            yield str(message.get("content", ""))
    for name in ("correction", "reason"):
        yield str(line.plain.get(name, ""))


def _runs(texts: list[str], clean: CleanText | None) -> np.ndarray:
    """Return the hashes of all runs of words, raw and cleaned, distinct and sorted."""
    both = texts if clean is None else [*texts, *(clean(text)[0] for text in texts)]
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *hash_word_runs(both)]))


def _rater(line: Line) -> str:
    return str(line.plain.get("rater", "")) if isinstance(line.plain, dict) else ""


def _cleaner(root: Path) -> CleanText:
    cfg = read_params("clean", CleanConfig, root / "params.yaml")
    return text_cleaner(cfg, extensions_for("PERSONAL_DATA", root))


def _removal_lines(root: Path, found: Found, unfinished: ForgottenDocuments) -> Iterator[str]:
    if found.selected:
        records = counted(len(found.keys), "rating or vote", "ratings and votes")
        yield f"To be forgotten: {records}; {found.in_database:,} in the database."
    else:
        yield "No such rating or vote is left; what was removed before is still to be proved."
    for path, count in found.files.items():
        yield f"  {path.relative_to(root)}  {counted(count, 'line')}"
    unproved = unfinished.digested_ids - found.keys
    if unproved:
        yield f"To be proved: the absence of {counted(len(unproved), 'record')} that an earlier call removed."


def _require_gone(root: Path, found: Found, store: Store) -> None:
    """Raise UserError where the database or the files still hold a record."""
    beginnings = {line.text[:BEGINNING] for line in found.selected}
    if select_lines(root / FEEDBACK, found.selects) or store.holds(beginnings):
        raise UserError(
            "the database still holds what was removed, since a server is reading it: stop `privllm serve`, then run "
            "the same command again."
        )


def _prove(root: Path, forgotten: ForgottenDocuments, options: ForgetOptions) -> None:
    """Search the build and report. Raises UserError where a trace is left."""
    proof = prove_removal(root, root / FORGET_FEEDBACK_NOTE, source_reader(root))
    searched = f"{counted(proof.files, 'file')} ({proof.bytes / 1e6:,.1f} MB)"
    runs = counted(len(forgotten.runs), "run")
    options.say(f"\nSearched {searched} for {counted(len(forgotten), 'id')} and {runs} of 13 words, raw and cleaned.")
    if proof.shared:
        options.say(f"No evidence, because documents have them too: {counted(len(proof.shared.runs), 'run')}.")
    if not proof.left:
        options.say("No trace of them was found.")
    for file, matches in proof.left.items():
        options.say(f"FOUND in {file}: {len(matches.names):,} ids or digests, {counted(len(matches.runs), 'run')}")
    for line in purge_lines(root, ("params.yaml", "dvc.lock", "reports", str(FEEDBACK))):
        options.say(line)
    options.say("A model that was promoted before may have learnt from them: what starts from it inherits that.")
    if proof.left:
        files = ", ".join(list(proof.left)[:NAMED])
        raise UserError(f"traces of what was said are left in {files}: remove them, then run the same command again.")
