"""audit: does the store give back what the code would make now?

What a build takes from the store it believes. Here each stage that uses the store runs once more in this process, on the inputs
in the workspace and into a scratch folder, and with a store that believes little: of the shards in the record a random sample is
made again from nothing, by the code alone, and compared; of the others every object is read and compared with its name. What
the stage makes of all that is then compared with the workspace, file by file. It writes only below `AUDIT_FOLDER`; it repairs nothing.
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
from privllm.engine.import_guard import require_hashed_code
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
    """What is recorded, or lies in the cache or the workspace, and is not what comes out now."""

    stage: str
    file: str  # a path, or "function[3]: name" for a file in the record of the fourth job of a map
    recorded: str  # MD5, or `NOTHING`
    recomputed: str


@dataclass
class Audited:
    """What was found out about one stage."""

    stage: str
    shards: int = 0  # in its maps
    again: int = 0  # of them, made again
    files: int = 0  # in the workspace, compared
    faults: list[Fault] = field(default_factory=list)
    skipped: str = ""  # why it could not be audited, or not to the end

    def compare(self, file: str, recorded: str, recomputed: str) -> None:
        """Note a fault where the two MD5s differ."""
        if recorded != recomputed:
            self.faults.append(Fault(self.stage, file, recorded, recomputed))

    def line(self) -> str:
        """One line for a person."""
        if self.skipped:
            return f"{self.stage:<10} skipped: {self.skipped}"
        done = f"{self.shards} shards, {self.again} made again, {self.files} files in the workspace compared"
        return f"{self.stage:<10} {done}: {f'{len(self.faults)} DIFFERENT' if self.faults else 'the same bytes'}"


class AuditStore(Store):
    """To a stage it looks like a store without a cache; only its `map` has the record.

    So no stage can take anything from last time, and `collect` opens every source.
    """

    def __init__(self, cache: Cache, code: str, found: Audited, shards: int, seed: int) -> None:
        """`shards` of each map are made again, those that `seed` says."""
        super().__init__(code=code)
        # No hard links: whatever a stage did to a file would be done to the cache.
        self.record = Store(Cache(cache.folder), code, self.digests)
        self.found, self.shards, self.seed = found, shards, seed

    def map(
        self,
        function: Callable[..., Any],
        jobs: Sequence[Job],
        out: Path,
        label: str,
        resume: bool = False,
        inline_bytes: int | None = None,
        borrow: bool = False,  # all the same: what is compared lies in files of its own
    ) -> list[Any]:
        """As in `Store`. Raises UserError where a job is not in the record: the stage was not built as it stands."""
        actions = self._recorded(function, jobs, label)
        spoilt = self._spoilt(actions)
        rest = [
            None if i in spoilt or i in self._sample(function, len(jobs)) else action
            for i, action in enumerate(actions)
        ]
        rest = self.record.restore(rest, out)
        again = [i for i, action in enumerate(rest) if action is None]
        values = super().map(function, [jobs[i] for i in again], out / AGAIN, label, resume, inline_bytes)
        self._compare(function.__name__, [(i, actions[i]) for i in again], values, out / AGAIN)
        _move(out / AGAIN, out)
        self.found.shards += len(jobs)
        self.found.again += len(again)
        made = dict(zip(again, values, strict=True))
        return [made[i] if action is None else action["value"] for i, action in enumerate(rest)]

    def _sample(self, function: Callable[..., Any], jobs: int) -> set[int]:
        chosen = random.Random(seed_of(self.seed, self.found.stage, function.__name__))
        return set(chosen.sample(range(jobs), min(self.shards, jobs)))

    def _recorded(self, function: Callable[..., Any], jobs: Sequence[Job], label: str) -> list[dict[str, Any]]:
        """The jobs' actions, found without a trace: `privllm gc` must not take this for a use."""
        actions = []
        for job in jobs:
            path = action_path(self.record.cache, self.record.key_of(function, job))  # type: ignore[arg-type]
            try:
                action = json.loads(path.read_text("utf-8"))
                actions.append(
                    {
                        "value": action["value"],
                        "files": {name: (md5, size) for name, (md5, size) in action["files"].items()},
                    }
                )
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError, AttributeError):
                self.found.compare(str(path), md5_of(path), NOTHING)
        if len(actions) < len(jobs):
            raise UserError(
                f"{len(jobs) - len(actions)} of {len(jobs)} shards ({label}) are not recorded. "
                f"`dvc repro {self.found.stage}` builds them, with `--force` where it finds nothing to do."
            )
        return actions

    def _spoilt(self, actions: list[dict[str, Any]]) -> set[int]:
        """The actions of which an object is missing, which is no fault, or not what its name says."""
        objects = sorted({name for action in actions for name, _ in action["files"].values()})
        with ThreadPoolExecutor(COPIERS) as threads:
            found = dict(zip(objects, threads.map(self._md5_of_object, objects), strict=True))
        for name, actual in found.items():
            if actual != NOTHING:
                self.found.compare(str(self._object(name)), name, actual)
        return {
            i for i, action in enumerate(actions) if any(found[name] != name for name, _ in action["files"].values())
        }

    def _object(self, name: str) -> Path:
        assert self.record.cache
        return self.record.cache.path(name)

    def _md5_of_object(self, name: str) -> str:
        try:
            return md5_of(self._object(name))
        except FileNotFoundError:
            return NOTHING

    def _compare(self, function: str, again: list[tuple[int, dict[str, Any]]], values: list[Any], folder: Path) -> None:
        """What the record says of some jobs with what they have just made in `folder`."""
        made = {path.relative_to(folder).as_posix(): md5_of(path) for path in _files(folder)}
        for (i, action), value in zip(again, values, strict=True):
            self.found.compare(f"{function}[{i}]: result", _md5_of_value(action["value"]), _md5_of_value(value))
            for name, (recorded, _) in action["files"].items():
                self.found.compare(f"{function}[{i}]: {name}", recorded, made.pop(name, NOTHING))
        for name, extra in made.items():
            self.found.compare(f"{function}: {name}", NOTHING, extra)


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
    stages = declared_stages()
    results: list[Audited] = []
    for stage, declared in stages.items():
        if words_of(declared, stage.partition("@")[0]) is not None and uses_store(
            stage
        ):  # others are their owner's own
            differing = {fault.file for result in results for fault in result.faults}
            results.append(audit_stage(stage, declared, cache, (shards, seed), differing))
            yield results[-1]
    if all(result.skipped and not result.faults for result in results):
        raise UserError("nothing could be audited: run `dvc repro` first.")


def uses_store(stage: str) -> bool:
    """Return whether a stage takes a store. Read off its source, so that torch is not imported to find out."""
    stage = stage.partition("@")[0]
    return "privllm.engine.store.Store" in imports_of(Path("stages") / f"{stage}.py", f"stages.{stage}")


def audit_stage(
    stage: str, declared: dict[str, Any], cache: Cache, sample: tuple[int, int], differing: set[str]
) -> Audited:
    """Run one stage as dvc.yaml `declared` it; `differing` are the workspace's files that are known not to be what they should be."""
    found = Audited(stage)
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
        quiet = redirect_stdout(StringIO())  # what it left out, it said when it was built
        store = AuditStore(cache, code_of(base), found, *sample)
        with quiet:
            main(**arguments(main, base, words), store=store)
        record_parameters(declared, input_guard.params, AUDIT_FOLDER)
        _compare_workspace(found, outs)
        input_guard.verify()
    except UserError as error:
        found.skipped = str(error)
    finally:
        shutil.rmtree(AUDIT_FOLDER, ignore_errors=True)
    return found


def load_main(stage: str) -> Callable[..., None]:
    """`main` of the stage's file in the working directory. Raises UserError where Python would take another."""
    module = importlib.import_module(f"stages.{stage}")
    expected = (Path("stages") / f"{stage}.py").resolve()
    if module.__file__ is None or Path(module.__file__).resolve() != expected:
        raise UserError(f"this is not {expected}, but {module.__file__}: run `python -m privllm.cli audit` here.")
    return module.main


def _require(outs: list[str], deps: list[str], differing: set[str]) -> None:
    for path in [*outs, *deps]:
        if not Path(path).exists():
            raise UserError(f"{path} is missing. `dvc repro` builds it.")
    if spoilt := sorted(path for path in differing if _lies_in(path, deps)):
        raise UserError(f"its input {spoilt[0]} is not what it should be.")


def _compare_workspace(found: Audited, outs: list[str]) -> None:
    """Every file below `outs`, as it stands and as it was made now."""
    for out in outs:
        names = {path.relative_to(root).as_posix() for root in (Path(), AUDIT_FOLDER) for path in _files(root / out)}
        for name in sorted(names):
            standing, made = (md5_of(path) if path.is_file() else NOTHING for path in (Path(name), AUDIT_FOLDER / name))
            found.compare(name, standing, made)
        found.files += len(names)


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
    """The faults in columns, MD5s in full: they are what one looks for in the cache."""
    rows = [
        ("stage", "recorded MD5", "recomputed MD5", "file"),
        *((f.stage, f.recorded, f.recomputed, f.file) for f in faults),
    ]
    return [f"{stage:<10} {recorded:<32} {recomputed:<32} {file}" for stage, recorded, recomputed, file in rows]
