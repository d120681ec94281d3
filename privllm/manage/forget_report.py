"""Messages of `privllm forget`: what will be removed, what the search found, and how to purge older builds."""

import configparser
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from privllm.core.base_model import INCUMBENT, starts_in
from privllm.core.families import TRAITS
from privllm.core.params import load_sections
from privllm.engine.cache import find_cache
from privllm.manage.forgotten_documents import WORDS, ForgottenDocuments
from privllm.manage.git_revisions import in_git
from privllm.manage.source_files import SOURCES, Selection, present, read_options
from privllm.manage.trace import PROMOTED, count_trained_on, holdings_lines, revision_holdings
from privllm.manage.verify_removal import RemovalProof

SHOWN = 20
NAMED = 5


def removal_lines(
    root: Path,
    selection: Selection,
    selected: ForgottenDocuments,
    unfinished: ForgottenDocuments,
) -> Iterator[str]:
    """Yield lines that say what will be removed and proved."""
    documents = counted(len(selected), "document")
    yield f"To be forgotten: {documents}, in {describe(selection)} of {SOURCES}:"
    sources = sorted(set(selected.table["source"].to_pylist()))
    existing = present(root / SOURCES, sources[:SHOWN], read_options(root))
    for source in sources[:SHOWN]:
        comment = "" if source in existing else "  (in the build only: its file is gone already)"
        yield f"  {source}{comment}"
    if len(sources) > SHOWN:
        yield f"  and {len(sources) - SHOWN} more"
    unproved = unfinished.ids - selected.ids
    if unproved:
        yield f"And to be proved: the absence of {counted(len(unproved), 'document')} that were removed before."


def proof_lines(proof: RemovalProof, forgotten: ForgottenDocuments) -> Iterator[str]:
    """Yield lines that say what was searched, and which traces were found."""
    yield ""
    searched = f"{counted(proof.files, 'file')} ({proof.bytes / 1e6:,.1f} MB)"
    digests, runs = counted(len(forgotten.digests), "digest"), counted(len(forgotten.runs), "run")
    yield (
        f"Searched {searched} for {counted(len(forgotten), 'document')}: ids, names, {digests}, and {runs} of "
        f"{WORDS} words, raw and cleaned."
    )
    if proof.binary:
        yield f"In {counted(proof.binary, 'binary file')} (weights) only ids and digests can be searched for."
    if proof.shared:
        yield _shared_line(proof)
    if not proof.left:
        yield "No trace of them was found."
    for file, matches in proof.left.items():
        names = counted(len(matches.names), "id, name or digest", "ids, names or digests")
        runs = counted(len(matches.runs), "run")
        sources = ", ".join(forgotten.sources_with(matches.runs, matches.names)[:NAMED])
        yield f"FOUND in {file}: {names} and {runs} of words of {sources}"


def _shared_line(proof: RemovalProof) -> str:
    """Return a line about the matches that remaining documents explain."""
    by_runs = sorted(proof.explained_by.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{source} ({runs:,})" for source, runs in by_runs[:NAMED])
    more = f" and {len(by_runs) - NAMED} more" if len(by_runs) > NAMED else ""
    runs, digests = counted(len(proof.shared.runs), "run"), counted(len(proof.shared.names), "digest")
    return f"No evidence, because remaining documents have them too: {runs}, {digests}, in {named}{more}."


def older_build_lines(root: Path, ids: list[str]) -> Iterator[str]:
    """Yield which older revisions hold the documents, and how to purge those."""
    yield from holdings_lines(revision_holdings(root, ids), len(ids))
    inputs = ("params.yaml", "dvc.lock", "reports", f"{SOURCES}.dvc", "data/promoted", "data/vocabulary")
    yield from purge_lines(root, inputs)
    if in_git(root, SOURCES):
        yield (
            f"But this repository's history has files of {SOURCES} themselves: rewrite it "
            f"(git filter-repo --invert-paths --path {SOURCES}/)."
        )


def purge_lines(root: Path, to_commit: Iterable[str]) -> Iterator[str]:
    """Yield how to purge older builds from DVC's cache and git; `to_commit` are files of this build."""
    cache = find_cache(root)
    if cache is None:
        return
    is_shared = cache.folder.resolve() != (root / ".dvc/cache").resolve()
    yield ""
    yield f"DVC's cache ({cache.folder}) still holds older builds. To purge it, losing the data of all older builds:"
    files = " ".join(name for name in to_commit if (root / name).exists())
    yield f"  git add {files} && git commit -m 'Forget'   # so that this build has a commit"
    yield f"  dvc gc --workspace{' --projects OTHER' if is_shared else ''}   # keeps this build only"
    if is_shared:
        yield "    # this cache is outside the repository: name all other projects that use it, or their data is lost"
    if _has_remote(root):
        yield "  dvc gc --workspace --cloud   # the same in the remote"
        yield "  privllm push --prune   # and what `privllm push` sent of older builds"
    yield f"  rm -r {cache.folder / 'privllm'}   # what stages remember; the next build starts afresh"
    yield "Git's history needs no purge: it holds hashes of whole folders, counts and parameters, no text."


def incumbent_lines(root: Path, ids: list[str]) -> Iterator[str]:
    """Yield whether the last promoted model was trained on the documents, and what to do about it."""
    trained_on = count_trained_on(root, ids)
    if not trained_on:
        return
    yield ""
    yield (
        f"THE INCUMBENT WAS TRAINED ON THEM: the last promoted model ({PROMOTED}) was trained on {trained_on} of "
        f"{counted(len(ids), 'document')}. No search can find what weights have learnt, and every model that "
        "starts from it inherits that."
    )
    keys = _starts_from_incumbent(root)
    if keys:
        yield f"So does this build's model: {', '.join(keys)} in params.yaml is `{INCUMBENT}`."
    yield (
        "  To replace it, set `base` to `scratch`, or to a base model that was not trained on them, then run "
        "`dvc repro` and `privllm promote`."
    )


def _starts_from_incumbent(root: Path) -> list[str]:
    """Return the keys of params.yaml that start this build from the incumbent."""
    params = load_sections(root / "params.yaml")
    starts = starts_in(params, params.get("families") or TRAITS).values()
    return list(dict.fromkeys(start.key for start in starts if start.place == INCUMBENT))


def describe(selection: Selection) -> str:
    lines = sum(len(numbers) for numbers in selection.lines.values())
    parts = sum(map(len, selection.parts.values()))
    counts = [counted(len(selection.files), "file"), f"{counted(lines, 'line')} of JSONL"]
    if parts:
        counts.append(f"{counted(parts, 'part')} of other files")
    return f"{', '.join(counts[:-1])} and {counts[-1]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {plural or f'{noun}s'}"


def _has_remote(root: Path) -> bool:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    with suppress(configparser.Error, OSError):
        parser.read([root / ".dvc/config", root / ".dvc/config.local"], "utf-8")
    return any("remote" in section for section in parser.sections())
