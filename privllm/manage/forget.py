"""Removal of documents: take them out of the sources, rebuild, and prove that the build has no trace of them.

What to search for is saved before anything is removed (`FORGET_NOTE`), so after an
interruption the same command continues where it stopped. Older builds stay in DVC's cache until
`dvc gc`; the commands for that are printed at the end.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from privllm.collect.documents import CollectedDocument, source_of
from privllm.collect.source_file import ReadOptions
from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.core.printable import say
from privllm.core.promoted import SIDES_FILE, SIDES_FOLDER
from privllm.core.records import SIDES, document_id, whole_source
from privllm.core.tables import read_table, write_table
from privllm.core.work_paths import FORGET_NOTE
from privllm.dedup.sides import without
from privllm.engine.extensions import Extensions, extensions_for
from privllm.engine.interrupt import interrupts_held
from privllm.manage.document_status import sources_of
from privllm.manage.forget_report import (
    NAMED,
    counted,
    describe,
    incumbent_lines,
    older_build_lines,
    proof_lines,
    removal_lines,
)
from privllm.manage.forgotten_documents import ForgottenDocuments, gather_traces, load
from privllm.manage.source_files import (
    SOURCES,
    Selection,
    file_holding,
    files_below,
    is_below,
    present,
    read,
    read_options,
    read_selected,
    remove,
    select,
    source_name,
    sources_beside,
)
from privllm.manage.trace import near_names
from privllm.manage.tracked_input import track
from privllm.manage.verify_removal import ReadSource, prove_removal
from privllm.manage.vocabulary import learnt_on, remove_kept

Say = Callable[[str], None]
Ask = Callable[[str], bool]


@dataclass
class ForgetOptions:
    """How `forget` reports, whether it asks first, and whether it rebuilds."""

    say: Say = say
    ask: Ask | None = None  # asks whether to go on; None: never ask
    repro: bool = True  # rebuild and prove the absence, rather than only remove


def forget(root: Path, words: list[str], options: ForgetOptions) -> None:
    """Forget the documents that `words` (files, folders, `notes.jsonl#12`, `in.mbox#<id>`) name.

    Those of earlier unfinished calls are forgotten too. Raises UserError for paths that name nothing,
    where the build fails, and where a trace of the documents is left.
    """
    selection, selected, unfinished = _look_up(root, words)
    for line in removal_lines(root, selection, selected, unfinished):
        options.say(line)
    question = "Remove them?" if selection.files or selection.lines or selection.parts else "Go on?"
    if options.ask and not options.ask(question):
        raise UserError("nothing was removed.")
    forgotten = unfinished.merged_with(selected)
    forgotten.save(root)
    remove(selection, root / SOURCES, read_options(root))
    options.say(f"Removed {describe(selection)} from {SOURCES}.")
    _remove_records(root, forgotten, options.say)
    if not options.repro:
        options.say(
            "Nothing is rebuilt or proved yet. Run `dvc repro`, or run this command again without --no-repro, "
            "which rebuilds and proves the absence."
        )
        return
    _build(root)
    _prove(root, forgotten, options.say)
    (root / FORGET_NOTE).unlink(missing_ok=True)


def confirm(question: str) -> bool:
    """Ask a person; no answer is no. Raises UserError where there is no terminal to ask at."""
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask at, so nothing was removed: --yes removes without asking.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _look_up(root: Path, words: list[str]) -> tuple[Selection, ForgottenDocuments, ForgottenDocuments]:
    """Return what to remove, its traces, and the traces that earlier calls saved.

    Raises UserError for paths that name nothing.
    """
    folder = root / SOURCES
    options = read_options(root)
    selection = select(folder, words, options)
    names = [source_name(word, folder) for word in words]
    sources = sources_of(root)
    saved = load(root / FORGET_NOTE)
    saved_sources = set(saved.table["source"].to_pylist())
    beside = sources_beside(selection, folder, options)
    built = {}
    for identifier, source in sources.items():
        if whole_source(source) not in beside and any(is_below(source, name) for name in names):
            built[identifier] = source
    for name in selection.missing:
        if not any(is_below(source, name) for source in (*built.values(), *saved_sources)):
            raise UserError(_unknown_name(name, folder, sources))
    if not _leaves_something(folder, selection):
        raise UserError(f"that is all of {SOURCES}, and a build needs documents: remove data/ itself if that is meant.")
    selected = gather_traces(
        root, read_selected(selection, folder, _max_bytes(root), extensions_for("READERS", root), options), built
    )
    # A document that its owner has put back since is no longer to be forgotten.
    restored_ids = {document_id(source) for source in present(folder, saved_sources, options)}
    return selection, selected, saved.without(restored_ids)


def _remove_records(root: Path, forgotten: ForgottenDocuments, say: Say) -> None:
    """Take the documents out of the recorded sides of the split, and remove a kept vocabulary that was learnt on them."""
    present = set(sources_of(root)) - forgotten.ids
    learnt = learnt_on(root, forgotten.ids, forgotten.digests, present)
    if learnt:
        remove_kept(root)
        say(f"Removed the kept vocabulary, which was learnt on {learnt} of them: the next build learns one anew.")
    file = SIDES_FOLDER / SIDES_FILE
    if not (root / file).is_file():
        return
    records = read_table(root / file, SIDES.names)
    left = without(records, forgotten.ids, forgotten.digests, present)
    if len(left) < len(records):
        write_table(left, root / file)
        track(root, file)
        say(f"Removed {counted(len(records) - len(left), 'record')} of their side of the split from {file}.")


def _unknown_name(name: str, folder: Path, sources: dict[str, str]) -> str:
    """Return the message for a path that neither the sources nor the build, {id: source}, has."""
    candidates = {source_of(path, folder) for path in files_below(folder)}
    candidates.update(sources.values())
    near = near_names(name, sorted(candidates))
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{name} is in neither {SOURCES} nor the build, so nothing was removed.{hint}"


def _leaves_something(folder: Path, selection: Selection) -> bool:
    if not selection.files:
        return True
    return not set(files_below(folder)) <= set(selection.files)


def _build(root: Path) -> None:
    rebuild(root, f"The documents are removed from {SOURCES}")


def rebuild(root: Path, removed: str) -> None:
    """Run `dvc repro`, its output visible. `removed` says what was done before it.

    Raises UserError where it fails, KeyboardInterrupt once it has stopped after Ctrl-C.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # stages are `python -m ...`
    environment = {**os.environ, "PATH": path}
    with interrupts_held():  # DVC and its stage get Ctrl-C too
        process = subprocess.run([sys.executable, "-P", "-m", "dvc", "repro"], cwd=root, env=environment, check=False)
    if process.returncode:
        raise UserError(
            f"`dvc repro` ended with code {process.returncode}. {removed}, but not "
            "yet from the build: fix the reported error, then run the same command again; it remembers what to "
            "search for."
        )


def _prove(root: Path, forgotten: ForgottenDocuments, say: Say) -> None:
    """Search the build and report. Raises UserError where a trace is left."""
    ids = sorted(forgotten.ids)
    proof = prove_removal(root, root / FORGET_NOTE, source_reader(root))
    lines = [*proof_lines(proof, forgotten), "", *older_build_lines(root, ids), *incumbent_lines(root, ids)]
    for line in lines:
        say(line)
    if proof.left:
        files = ", ".join(list(proof.left)[:NAMED])
        raise UserError(
            f"traces of the forgotten documents are left in {files}. See above; where somebody put them there by "
            "hand, remove them, then run the same command again."
        )


def source_reader(root: Path) -> ReadSource:
    """Return a function that reads the document under a source now: digest, and raw and clean text."""
    from privllm.clean.recipe import CleanConfig, clean_document, clean_sections

    folder, max_bytes, options = root / SOURCES, _max_bytes(root), read_options(root)
    cfg = read_params("clean", CleanConfig, root / "params.yaml")
    readers, finders = extensions_for("READERS", root), extensions_for("PERSONAL_DATA", root)
    documents: dict[Path, dict[str, CollectedDocument]] = {}  # of the last file, of which many lines may be asked for

    def read_source(source: str) -> list[tuple[str, list[str]]]:
        path = file_holding(source, folder)
        if path is None:
            return []
        if path not in documents:
            documents.clear()
            documents[path] = _documents_in(path, folder, max_bytes, readers, options)
        document = documents[path].get(source) or documents[path].get(whole_source(source))
        if document is None:
            return []
        content = (document.media_type, document.text, finders)
        sections = clean_sections(cfg, document.source, *content)
        clean_texts = [clean_document(cfg, *content).text, *(section.text for section in sections.values())]
        return [(document.digest, [document.text, *clean_texts])]

    return read_source


def _documents_in(
    path: Path, folder: Path, max_bytes: int, readers: Extensions, options: ReadOptions
) -> dict[str, CollectedDocument]:
    """Read the documents of one file, by source."""
    rows = read(path, folder, max_bytes, readers, options)
    return {row.source: row for row in rows if isinstance(row, CollectedDocument)}


def _max_bytes(root: Path) -> int:
    from privllm.collect.recipe import CollectConfig

    return int(read_params("collect", CollectConfig, root / "params.yaml").max_megabytes * 1e6)
