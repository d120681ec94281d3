"""audit: a check that the store returns what the code would make now.

A build trusts its store. The audit runs each stage that uses the store once more in this process, on
the inputs in the workspace and into a scratch folder, with a store that trusts little: a random
sample of the recorded shards is made again by the code alone and compared, and every object of the
others is read and compared with its name. The stage's outputs are then compared with the workspace,
file by file. Nothing is repaired, and nothing is written outside `AUDIT_FOLDER`.
"""

import importlib
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from hashlib import md5
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.seed import seed_of
from privllm.core.work_paths import AUDIT_FOLDER
from privllm.engine.actions import Job, action_path
from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import md5_of
from privllm.engine.fingerprint import check_fingerprint
from privllm.engine.import_guard import require_hashed_code, stages_of
from privllm.engine.input_guard import InputGuard
from privllm.engine.module_analysis import imports_of
from privllm.engine.params_guard import (
    explain_other_parameters,
    force_command,
    record_parameters,
    stages_with_other_parameters,
)
from privllm.engine.pipeline import PIPELINE, declared_stages, outputs_of, words_of
from privllm.engine.source_guard import SAVED_TOO_LATE, saved_too_late
from privllm.engine.stage import arguments
from privllm.engine.store import COPIERS, Store, code_of

AGAIN = ".again"  # folder of a map's output in which shards are made again
NOTHING = "-"  # in place of an MD5: there is no such file


class Fault(NamedTuple):
    """A result in the record, the cache or the workspace that differs from what the code makes now."""

    stage: str
    file: str  # a path, or "function[3]: name" for a file in the record of the fourth job of a map
    recorded: str  # MD5, or `NOTHING`
    recomputed: str


@dataclass
class Audited:
    """Findings about one stage."""

    stage: str
    shards: int = 0  # in its maps
    remade: int = 0  # of them, made again
    files: int = 0  # in the workspace, compared
    faults: list[Fault] = field(default_factory=list)
    skipped: str = ""  # why it could not be audited, or not to the end

    def compare(self, file: str, recorded: str, recomputed: str) -> None:
        """Add a fault if the two MD5s differ."""
        if recorded != recomputed:
            self.faults.append(Fault(self.stage, file, recorded, recomputed))

    def line(self) -> str:
        """Return the findings as a line for a terminal."""
        if self.skipped:
            return f"{self.stage:<10} skipped: {self.skipped}"
        counts = f"{self.shards} shards, {self.remade} made again, {self.files} files in the workspace compared"
        verdict = f"{len(self.faults)} DIFFERENT" if self.faults else "the same bytes"
        return f"{self.stage:<10} {counts}: {verdict}"


class AuditStore(Store):
    """A store that makes some shards again and compares them with the record.

    To a stage it looks like a store without a cache, so no stage can take anything from its last
    run, and `collect` opens every source. Only `map` reads the record.
    """

    def __init__(self, cache: Cache, code: str, findings: Audited, shards: int, seed: int) -> None:
        """Make `shards` of each map again, chosen by `seed`."""
        super().__init__(code=code)
        # No hard links: whatever a stage did to a file would be done to the cache.
        self.record = Store(Cache(cache.folder), code, self.digests)
        self.findings, self.shards, self.seed = findings, shards, seed

    def map(
        self,
        function: Callable[..., Any],
        jobs: Sequence[Job],
        out: Path,
        label: str,
        resume: bool = False,
        inline_bytes: int | None = None,
        borrow: bool = False,  # without effect: compared files are never shared
        apart: bool = False,
    ) -> list[Any]:
        """Do as `Store.map` does, and make a sample of the shards again.

        Raises UserError where a job is not in the record: the stage was not built as it stands.
        """
        recorded_actions = self._recorded(function, jobs, label)
        to_remake = self._damaged(recorded_actions) | self._sample(function, jobs)
        to_restore = [None if index in to_remake else action for index, action in enumerate(recorded_actions)]
        restored_actions = self.record.restore(to_restore, out)
        remade = [index for index, action in enumerate(restored_actions) if action is None]
        jobs_again = [jobs[index] for index in remade]
        values = super().map(function, jobs_again, out / AGAIN, label, resume, inline_bytes, apart=apart)
        remade_actions = [(index, recorded_actions[index]) for index in remade]
        self._compare(function.__name__, remade_actions, values, out / AGAIN)
        _move(out / AGAIN, out)
        self.findings.shards += len(jobs)
        self.findings.remade += len(remade)
        remade_values = dict(zip(remade, values, strict=True))
        results = []
        for index, action in enumerate(restored_actions):
            results.append(remade_values[index] if action is None else action["value"])
        return results

    def _sample(self, function: Callable[..., Any], jobs: Sequence[Job]) -> set[int]:
        """Return the numbers of the jobs that are made again."""
        return self._draw(function, range(len(jobs)))

    def _draw(self, function: Callable[..., Any], numbers: Sequence[int]) -> set[int]:
        """Return `shards` of some numbers."""
        seed = seed_of(self.seed, self.findings.stage, function.__name__)
        size = min(self.shards, len(numbers))
        return set(random.Random(seed).sample(numbers, size))

    def _recorded_at(self, key: str) -> Path:
        """Return where an action is recorded."""
        assert self.record.cache
        return action_path(self.record.cache, key)

    def _recorded(self, function: Callable[..., Any], jobs: Sequence[Job], label: str) -> list[dict[str, Any]]:
        """Return the recorded actions of the jobs, without a trace of having read them.

        `privllm gc` must not take an audit for a use.
        """
        actions = []
        for job in jobs:
            path = self._recorded_at(self.record.key_of(function, job))
            try:
                action = json.loads(path.read_text("utf-8"))
                files = {name: (md5, size) for name, (md5, size) in action["files"].items()}
                actions.append({"value": action["value"], "files": files})
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError, AttributeError):
                self.findings.compare(str(path), md5_of(path), NOTHING)
        if len(actions) < len(jobs):
            raise UserError(
                f"{len(jobs) - len(actions)} of {len(jobs)} shards ({label}) are not recorded. "
                f"`dvc repro {self.findings.stage}` builds them, with `--force` where it finds nothing to do."
            )
        return actions

    def _damaged(self, actions: list[dict[str, Any]]) -> set[int]:
        """Return the numbers of the actions with an object that is missing or not what its name says.

        Only the second is a fault.
        """
        objects = sorted({name for action in actions for name, _ in action["files"].values()})
        with ThreadPoolExecutor(COPIERS) as threads:
            actual_md5s = dict(zip(objects, threads.map(self._md5_of_object, objects), strict=True))
        damaged_objects = {name for name, actual in actual_md5s.items() if actual != name}
        for name in sorted(damaged_objects):
            if actual_md5s[name] != NOTHING:
                self.findings.compare(str(self._object(name)), name, actual_md5s[name])
        damaged_actions = set()
        for index, action in enumerate(actions):
            if any(name in damaged_objects for name, _ in action["files"].values()):
                damaged_actions.add(index)
        return damaged_actions

    def _object(self, name: str) -> Path:
        assert self.record.cache
        return self.record.cache.path(name)

    def _md5_of_object(self, name: str) -> str:
        try:
            return md5_of(self._object(name))
        except FileNotFoundError:
            return NOTHING

    def _compare(
        self, function: str, actions: list[tuple[int, dict[str, Any]]], values: list[Any], folder: Path
    ) -> None:
        """Compare the recorded actions of some jobs with what these have made in `folder`."""
        new_md5s = {path.relative_to(folder).as_posix(): md5_of(path) for path in _files(folder)}
        for (index, action), value in zip(actions, values, strict=True):
            job = f"{function}[{index}]"
            self.findings.compare(f"{job}: result", _md5_of_value(action["value"]), _md5_of_value(value))
            for name, (recorded_md5, _) in action["files"].items():
                self.findings.compare(f"{job}: {name}", recorded_md5, new_md5s.pop(name, NOTHING))
        for name, new_md5 in new_md5s.items():
            self.findings.compare(f"{function}: {name}", NOTHING, new_md5)


OpenRecord = Callable[[str, Audited], AuditStore]  # of a code, and of what is found about its stage


def audit(shards: int, seed: int) -> Iterator[Audited]:
    """Audit every stage of the repository in the working directory that uses the store, one after the other.

    `shards` of each of a stage's maps are made again (the same for the same `seed`). Raises UserError where there is no
    repository, no cache, or nothing at all that could be audited.
    """
    cache = find_cache(Path())
    if not PIPELINE.is_file() or cache is None:
        raise UserError("there is no build here: run this from the root of the repository.")
    if saved_too_late():
        raise UserError(SAVED_TOO_LATE)
    if misread := stages_with_other_parameters():
        raise UserError(f"{explain_other_parameters(misread)}. Run `{force_command(misread)}`, then `dvc repro`.")

    def open_record(code: str, findings: Audited) -> AuditStore:
        return AuditStore(cache, code, findings, shards, seed)

    stages = declared_stages()
    results: list[Audited] = []
    for stage, declared in stages.items():
        is_ours = words_of(declared, stage.partition("@")[0]) is not None
        if is_ours and uses_store(stage):
            differing = {fault.file for result in results for fault in result.faults}
            results.append(audit_stage(stage, declared, open_record, differing))
            yield results[-1]
    if all(result.skipped and not result.faults for result in results):
        raise UserError("nothing could be audited: run `dvc repro` first.")


def uses_store(stage: str) -> bool:
    """Return whether a stage takes a store. Read off its source, so that torch is not imported to find out."""
    stage = stage.partition("@")[0]
    return "privllm.engine.store.Store" in imports_of(Path("stages") / f"{stage}.py", f"stages.{stage}")


def audit_stage(stage: str, declared: dict[str, Any], open_record: OpenRecord, differing: set[str]) -> Audited:
    """Run one stage as dvc.yaml `declared` it, with the store that `open_record` returns, and compare.

    `differing` are the workspace's files that earlier stages of the audit did not confirm.
    """
    findings = Audited(stage)
    outs = outputs_of(declared)
    shutil.rmtree(AUDIT_FOLDER, ignore_errors=True)  # of an audit that was killed
    try:
        _require(outs, declared["deps"], differing)
        base = stage.partition("@")[0]
        check_fingerprint(base)
        input_guard = InputGuard(declared)
        main = load_main(base)
        require_hashed_code(Path())
        words = [str(AUDIT_FOLDER / word) if _lies_in(word, outs) else word for word in words_of(declared, base) or []]
        store = open_record(code_of(base), findings)
        with redirect_stdout(StringIO()):  # what a stage leaves out was printed when it was built
            main(**arguments(main, base, words), store=store)
        record_parameters(declared, input_guard.params, AUDIT_FOLDER)
        _compare_workspace(findings, outs)
        input_guard.verify()
    except UserError as error:
        findings.skipped = str(error)
    finally:
        shutil.rmtree(AUDIT_FOLDER, ignore_errors=True)
    return findings


def load_main(stage: str) -> Callable[..., None]:
    """Return `main` of the stage's file in the working directory.

    Raises UserError where Python would take another file.
    """
    with stages_of(Path()):
        module = importlib.import_module(f"stages.{stage}")
    expected = (Path("stages") / f"{stage}.py").resolve()
    if module.__file__ is None or Path(module.__file__).resolve() != expected:
        raise UserError(
            f"this is not {expected}, but {module.__file__}: run it in a new process, from the root of the project."
        )
    return module.main


def _require(outs: list[str], deps: list[str], differing: set[str]) -> None:
    for path in [*outs, *deps]:
        if not Path(path).exists():
            raise UserError(f"{path} is missing. `dvc repro` builds it.")
    differing_inputs = sorted(path for path in differing if _lies_in(path, deps))
    if differing_inputs:
        raise UserError(f"its input {differing_inputs[0]} is not what it should be.")


def _compare_workspace(findings: Audited, outs: list[str]) -> None:
    """Compare every file below `outs` in the workspace with the one that was made now."""
    for out in outs:
        names: set[str] = set()
        for root in (Path(), AUDIT_FOLDER):
            names.update(path.relative_to(root).as_posix() for path in _files(root / out))
        for name in sorted(names):
            findings.compare(name, _md5_of_file(Path(name)), _md5_of_file(AUDIT_FOLDER / name))
        findings.files += len(names)


def _md5_of_file(path: Path) -> str:
    return md5_of(path) if path.is_file() else NOTHING


def _lies_in(path: str, places: list[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())


def _move(source: Path, target: Path) -> None:
    for path in _files(source):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(source)


def _md5_of_value(value: Any) -> str:
    return md5(json.dumps(value, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def table(faults: Sequence[Fault]) -> list[str]:
    """Return the faults as lines in columns, with whole MD5s, which one looks for in the cache."""
    heading = Fault(stage="stage", file="file", recorded="recorded MD5", recomputed="recomputed MD5")
    lines = []
    for row in (heading, *faults):
        lines.append(f"{row.stage:<10} {row.recorded:<32} {row.recomputed:<32} {row.file}")
    return lines
