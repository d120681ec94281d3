"""Take documents out of the sources, build again without them, and prove that nothing of them is left in the build.

What to look for is noted before anything is removed (`FORGET_NOTE`), so whatever interrupts this, the same command goes on where
it stopped. What it cannot do is reach into the past: older builds stay in DVC's cache until `dvc gc`, and it says how.
"""

import configparser
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from privllm.collect.documents import CollectedDocument, source_of
from privllm.core.base_model import INCUMBENT
from privllm.core.errors import UserError
from privllm.core.params import load_sections, read_params
from privllm.core.printable import say
from privllm.core.records import document_id
from privllm.core.work_paths import FORGET_NOTE
from privllm.engine.cache import find_cache
from privllm.engine.interrupt import interrupts_held
from privllm.manage.document_status import sources_of
from privllm.manage.evidence import WORDS, Evidence, gather, load, merged, without
from privllm.manage.history import in_git
from privllm.manage.removal_proof import Proof, prove
from privllm.manage.source_files import SOURCES, Selection, files_below, is_below, present, read, read_selected, remove, select, source_name
from privllm.manage.trace import PROMOTED, Standing, carried, near_names, standing_lines, standings_of

SHOWN = 20
NAMED = 5
Say = Callable[[str], None]
Ask = Callable[[str], bool]


@dataclass
class Terms:
    """How `forget` goes about it."""

    say: Say = say
    ask: Ask | None = None  # whether to go on; None: do
    repro: bool = True  # build again and prove, rather than say how


def forget(root: Path, words: list[str], terms: Terms) -> None:
    """Forget the documents that `words` (files, folders, `notes.jsonl#12`) name, and those of earlier calls that were not finished.

    Raises UserError for paths that name nothing, where the build fails, and where something of the documents is left.
    """
    selection, evidence, unfinished = _look_up(root, words)
    for line in _plan(root, selection, evidence, unfinished):
        terms.say(line)
    if terms.ask and not terms.ask("Remove them?" if selection.files or selection.lines else "Go on?"):
        raise UserError("nothing was removed.")
    evidence = merged(unfinished, evidence)
    evidence.save(root)
    remove(selection, root / SOURCES)
    terms.say(f"Removed {_removed(selection)} from {SOURCES}.")
    if not terms.repro:
        terms.say("Nothing is built or proved yet. Run `dvc repro`, or this command once more without --no-repro: it builds, and proves.")
        return
    _build(root)
    proof = prove(root, root / FORGET_NOTE, _reader(root))
    for line in (*_proof_lines(proof, evidence), "", *_past(root, standings_of(root, sorted(evidence.ids)), len(evidence))):
        terms.say(line)
    for line in _incumbent(root, sorted(evidence.ids)):
        terms.say(line)
    if proof.left:
        raise UserError(
            f"something of what was to be forgotten is left in {', '.join(list(proof.left)[:NAMED])}. See above; where that was put there "
            "by hand, remove it, then run the same command again."
        )
    (root / FORGET_NOTE).unlink(missing_ok=True)


def confirm(question: str) -> bool:
    """Ask a person; no answer is no. Raises UserError where there is no terminal to ask at."""
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask at, so nothing was removed: --yes removes without asking.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _look_up(root: Path, words: list[str]) -> tuple[Selection, Evidence, Evidence]:
    """(what to remove, what would betray it, the note of earlier calls). Raises UserError for paths that name nothing."""
    folder = root / SOURCES
    selection = select(folder, words)
    names = [source_name(word, folder) for word in words]
    known = sources_of(root)
    note = load(root / FORGET_NOTE)
    noted = set(note.table["source"].to_pylist())
    built = {identifier: source for identifier, source in known.items() if any(is_below(source, name) for name in names)}
    for name in selection.missing:
        if not any(is_below(source, name) for source in (*built.values(), *noted)):
            there = [*known.values(), *(source_of(path, folder) for path in files_below(folder))]
            near = near_names(name, sorted(set(there)))
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"{name} is in neither {SOURCES} nor the build, so nothing was removed.{hint}")
    if not _leaves_something(folder, selection):
        raise UserError(f"that is all of {SOURCES}, and a build needs documents: remove data/ itself if that is meant.")
    evidence = gather(root, read_selected(selection, folder, _max_bytes(root)), built)
    # What was noted, then put back by its owner, is no longer to be forgotten.
    back = present(folder, noted)
    return selection, evidence, without(note, {document_id(source) for source in back})


def _leaves_something(folder: Path, selection: Selection) -> bool:
    return not selection.files or bool(set(files_below(folder)) - set(selection.files))


def _plan(root: Path, selection: Selection, evidence: Evidence, unfinished: Evidence) -> Iterator[str]:
    """What is about to happen."""
    yield f"To be forgotten: {_some(len(evidence), 'document')}, in {_removed(selection)} of {SOURCES}:"
    sources = sorted(set(evidence.table["source"].to_pylist()))
    there = present(root / SOURCES, sources[:SHOWN])
    for source in sources[:SHOWN]:
        yield f"  {source}{'' if source in there else '  (in the build only: its file is gone already)'}"
    if len(sources) > SHOWN:
        yield f"  and {len(sources) - SHOWN} more"
    if still := unfinished.ids - evidence.ids:
        yield f"And to be proved: the absence of {_some(len(still), 'document')} that went before."


def _build(root: Path) -> None:
    """`dvc repro`, its output shown. Raises UserError where it fails, KeyboardInterrupt once it has stopped after Ctrl-C."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # stages are `python -m ...`
    with interrupts_held():  # DVC and its stage get Ctrl-C too
        process = subprocess.run([sys.executable, "-P", "-m", "dvc", "repro"], cwd=root, env={**os.environ, "PATH": path}, check=False)
    if process.returncode:
        raise UserError(
            f"`dvc repro` ended with code {process.returncode}. The documents are out of {SOURCES}, but not yet out of the build: "
            "mend what it says, then run the same command again; it remembers what to look for."
        )


def _reader(root: Path) -> Callable[[str], list[tuple[str, list[str]]]]:
    """A function that gives digest, raw text and clean text of what the sources hold now under a name."""
    from privllm.clean.recipe import CleanConfig, clean_document

    folder, max_bytes = root / SOURCES, _max_bytes(root)
    cfg = read_params("clean", CleanConfig, root / "params.yaml")
    lines: dict[Path, dict[str, CollectedDocument]] = {}  # of the last JSONL file: one is asked for many of its lines

    def read_again(source: str) -> list[tuple[str, list[str]]]:
        path = folder / source
        if not path.is_file():
            path = folder / source.rpartition("#")[0]
        if not path.is_file():
            return []
        if path not in lines:
            lines.clear()
            lines[path] = {row.source: row for row in read(path, folder, max_bytes) if isinstance(row, CollectedDocument)}
        row = lines[path].get(source)
        return [(row.digest, [row.text, clean_document(cfg, row.media_type, row.text).text])] if row else []

    return read_again


def _max_bytes(root: Path) -> int:
    from privllm.collect.recipe import CollectConfig

    return int(read_params("collect", CollectConfig, root / "params.yaml").max_megabytes * 1e6)


def _proof_lines(proof: Proof, evidence: Evidence) -> Iterator[str]:
    yield ""
    yield (
        f"Searched {_some(proof.files, 'file')} ({proof.bytes / 1e6:,.1f} MB) for {_some(len(evidence), 'document')}: ids, names, "
        f"{_some(len(evidence.digests), 'digest')}, and {_some(len(evidence.runs), 'run')} of {WORDS} words, raw and cleaned."
    )
    if proof.binary:
        yield f"In {_some(proof.binary, 'binary file')} (weights) only ids and digests can be looked for."
    if proof.shared:
        sayers = sorted(proof.sayers.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{source} ({runs:,})" for source, runs in sayers[:NAMED])
        more = f" and {len(sayers) - NAMED} more" if len(sayers) > NAMED else ""
        yield (
            f"No evidence, for documents that stay have them too: {_some(len(proof.shared.runs), 'run')}, "
            f"{_some(len(proof.shared.names), 'digest')}. So say {named}{more}."
        )
    if not proof.left:
        yield "Nothing of them was found."
    for file, found in proof.left.items():
        told = f"{_some(len(found.names), 'id, name or digest', 'ids, names or digests')} and {_some(len(found.runs), 'run')} of words"
        yield f"FOUND in {file}: {told} of {', '.join(evidence.of(found.runs, found.names)[:NAMED])}"


def _past(root: Path, standings: list[Standing], documents: int) -> Iterator[str]:
    """Which older revisions hold them, and how those are purged."""
    yield from standing_lines(standings, documents)
    cache = find_cache(root)
    if cache is None:
        return
    shared = cache.folder.resolve() != (root / ".dvc/cache").resolve()
    yield ""
    yield f"DVC's cache ({cache.folder}) still holds what was built before. To purge it, losing the data of all older builds with it:"
    files = " ".join(name for name in ("params.yaml", "dvc.lock", "reports", f"{SOURCES}.dvc") if (root / name).exists())
    yield f"  git add {files} && git commit -m 'Forget'   # so that this build has a commit"
    yield f"  dvc gc --workspace{' --projects OTHER' if shared else ''}   # keeps this build only"
    if shared:
        yield "    # this cache is outside the repository: name every other project that shares it, or their data go too"
    if _has_remote(root):
        yield "  dvc gc --workspace --cloud   # the same in the remote"
    yield f"  rm -r {cache.folder / 'privllm'}   # sources and digests that the stages remember; it costs one build's time"
    yield "Git's history cannot be purged of it and need not be: it holds hashes of whole folders, counts and parameters, no text."
    if in_git(root, SOURCES):
        yield f"But here git holds files of {SOURCES} themselves: rewrite its history (git filter-repo --invert-paths --path {SOURCES}/)."


def _incumbent(root: Path, ids: list[str]) -> Iterator[str]:
    """Whether the last promoted model carries them, and what to do about it."""
    if not (held := carried(root, ids)):
        return
    params = load_sections(root / "params.yaml")
    starts = {"tokenizer": params.get("tokenizer")} | {f"pretrain.{name}": part for name, part in (params.get("pretrain") or {}).items()}
    begun = [f"{name}.start" for name, part in starts.items() if (part or {}).get("start") == INCUMBENT]
    yield ""
    yield (
        f"THE INCUMBENT CARRIES THEM: the last promoted model ({PROMOTED}) was trained on {held} of {_some(len(ids), 'document')}. No "
        "search can find what weights have learnt, and every model that starts from it inherits that."
    )
    if begun:
        yield f"So does this build's: {', '.join(begun)} in params.yaml is `{INCUMBENT}`."
    yield "  Set every `start` to `scratch` (a base model that never saw them will do), `dvc repro`, then `privllm promote` to replace it."


def _removed(selection: Selection) -> str:
    return f"{_some(len(selection.files), 'file')} and {_some(sum(map(len, selection.lines.values())), 'line')} of JSONL"


def _some(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def _has_remote(root: Path) -> bool:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    with suppress(configparser.Error, OSError):
        parser.read([root / ".dvc/config", root / ".dvc/config.local"], "utf-8")
    return any("remote" in section for section in parser.sections())
