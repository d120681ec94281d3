"""`privllm plan`: the stages that `dvc repro` would run, the reasons, and the expected time.

Goes through the stages in DVC's order, predicts the inputs of each, and compares them with those of its
last run. Nothing is run, and nothing in the workspace is written.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from privllm.core.errors import SeveralFaults
from privllm.core.params import load_sections
from privllm.core.vocabulary_fit import misfit
from privllm.engine.fingerprint import FOLDER, python_version
from privllm.engine.params_check import require_sound_params
from privllm.engine.skipped_families import notes_of, skipped_stages
from privllm.engine.stage import LOG_FILE
from privllm.manage.check import FORCE_FINGERPRINT, find_problems
from privllm.manage.durations import predict, read_log
from privllm.manage.dvc_state import Build, Stage, StagePath, open_build
from privllm.manage.planned_stages import CACHED, MAY_RUN, RUNS, UP_TO_DATE, Plan, PlannedStage
from privllm.manage.predicted_hashes import PRINTS, PredictedHashes
from privllm.manage.rebuild_causes import Cause, fingerprints, listed, parameters

SOURCES = "data/sources"
SHARDS_IN_STORE = {"command", "output"}  # kinds of causes after which the store still has every shard
REPORTS = Path("reports")
NAMES = 100  # documents named in the JSON
CausesAndShare = tuple[list[Cause], float]  # why a stage runs, and the share of its shards that are made anew


def make_plan(target: str | None = None, log: Path = LOG_FILE) -> Plan:
    """Return what `dvc repro [target]` would do in the working directory, a repository's root.

    Raises UserError where params.yaml has a fault, DVC cannot read the build, or its code cannot be parsed.
    """
    require_sound_params(remember=False)
    notes = _notes()
    with open_build() as build:
        planner = Planner(build, log)
        steps = [planner.plan_stage(stage) for stage in build.stages(target)]
    return Plan(steps, [*notes, *notes_of(planner.skipped)])


class Planner:
    """Plans stages one by one, in the order of the build."""

    def __init__(self, build: Build, log: Path) -> None:
        self.build = build
        self.hashes = PredictedHashes(build)
        self.records = read_log(log)
        self.shares: dict[str, float] = {}
        self.skipped = skipped_stages(load_sections())

    def plan_stage(self, stage: Stage) -> PlannedStage:
        inputs = {dep.path: self.hashes.hash_of(dep) for dep in stage.deps}
        upstream: list[str] = []  # stages that may change an input, in the order of the build
        causes: list[Cause] = []
        share = 0.0
        if not stage.frozen:
            upstream = self._upstream_stages(inputs)
            causes, share = self._causes(stage, inputs)
        cached_run = None
        if not upstream:
            cached_run = self.build.cached_run(stage, {path: md5 or "" for path, md5 in inputs.items()})
        if not causes and not upstream:
            verdict = UP_TO_DATE
            self.hashes.record(stage, {out.path: out.recorded for out in stage.outs}, up_to_date=True)
        elif cached_run:
            verdict = CACHED
            self.hashes.record(stage, cached_run)
        else:
            verdict = RUNS if causes else MAY_RUN
            self.hashes.record(stage, None)
            causes = [*causes, *self._changed_fingerprints(stage)] or [_upstream_cause(upstream)]
        share = max([share, *(self.shares[name] for name in upstream)])
        self.shares[stage.name] = share
        seconds: float | None = 0.0
        if verdict in (RUNS, MAY_RUN) and stage.name not in self.skipped:
            seconds = predict(self.records.get(stage.name, []), share)
        return PlannedStage(stage.name, verdict, causes, share, seconds)

    def _upstream_stages(self, inputs: dict[str, str | None]) -> list[str]:
        """Return the stages that make the inputs whose content is unknown."""
        makers: set[str] = set()
        for path, md5 in inputs.items():
            if md5 is None:
                makers |= self.hashes.makers_of(path)
        return [name for name in self.shares if name in makers]

    def _causes(self, stage: Stage, inputs: dict[str, str | None]) -> CausesAndShare:
        """Return what differs from the last run, and the share of the shards that this makes anew."""
        if not stage.locked:
            return [Cause("never built", "never built", {})], 1.0
        causes: list[Cause] = []
        if stage.locked.get("cmd") != stage.command:
            values = {"old": stage.locked.get("cmd"), "new": stage.command}
            causes.append(Cause("command", "its command changed", values))
        for file, sections in stage.params.items():
            causes += parameters(stage.recorded_params[file], sections)
        changed_deps = list(_changed_deps(stage, inputs))
        prints_of_others = [dep.path for dep, _ in changed_deps if _is_print(dep) and not _is_print_of(dep, stage)]
        if prints_of_others:
            stages = [Path(path).stem for path in prints_of_others]
            says = f"the code or libraries of {listed(stages)} changed"
            causes.append(Cause("code", says, {"stages": stages}))
        share = 1.0 if any(cause.kind not in SHARDS_IN_STORE for cause in causes) else 0.0
        for dep, md5 in changed_deps:
            if dep.path not in prints_of_others:
                dep_causes, dep_share = self._dep_causes(stage, dep, md5)
                causes += dep_causes
                share = max(share, dep_share)
        for path, word in self.build.changed_outputs(stage).items():
            causes.append(Cause("output", f"{path} {word}", {"path": path, "what": word}))
        if stage.always:
            causes.append(Cause("always", "it always runs", {}))
        return causes, share

    def _dep_causes(self, stage: Stage, dep: StagePath, md5: str) -> CausesAndShare:
        """Return how a dependency differs, and the share of the shards that this makes anew."""
        if dep.path == SOURCES and md5:
            return self._documents(stage, dep, md5)
        if _is_print(dep) and md5:
            recorded = self.build.content(dep.recorded)
            fingerprint = self.hashes.fingerprint(dep.path, md5) if recorded else None
            if recorded and fingerprint:
                causes = fingerprints(json.loads(recorded), fingerprint)
                return causes or [Cause("code", "its fingerprint changed", {})], 1.0
        return self._files(dep, md5)

    def _files(self, dep: StagePath, md5: str) -> CausesAndShare:
        """Return how a file or folder differs, and the share of the folder's files that do."""
        change = "changed" if dep.recorded else "is new to this stage"
        if not md5:
            change = "is missing"
        says = f"{dep.path} {change}"
        values: dict[str, Any] = {"path": dep.path, "what": change}
        before = self.build.listing(dep.recorded) or {}
        after = self.build.listing(md5) or {}
        if not before or not after:
            return [Cause("input", says, values)], 1.0
        changed = len({name for name, _ in before.items() ^ after.items()})
        total = len(before.keys() | after.keys())
        values |= {"files": changed, "of": total}
        return [Cause("input", f"{says}, {changed:,} of {total:,} files", values)], changed / total

    def _documents(self, stage: Stage, dep: StagePath, md5: str) -> CausesAndShare:
        """Return which documents changed, and the share of the shards that hold one of them."""
        # Imported here because it imports pyarrow and more, which other plans do without.
        from privllm.manage.changed_documents import changes_since, last_collect

        section = stage.recorded_params.get("params.yaml", {}).get("collect", {})
        last = last_collect(self.build.cache, self._recorded_fingerprint(stage), section)
        changes = changes_since(last, self.build.listing(dep.recorded), Path(dep.path))
        if changes is None:
            return self._files(dep, md5)
        by_change: dict[str, list[str]] = changes._asdict()
        counts = {change: len(sources) for change, sources in by_change.items()}
        if not any(counts.values()):
            return [Cause("documents", f"{dep.path} changed, but none of its documents", counts)], 0.0
        shards, total = changes.shards(last.bits), 2**last.bits
        documents, tokens = _in_shards(shards / total)
        values = {
            **counts,
            "names": {change: sources[:NAMES] for change, sources in by_change.items()},
            "shards": shards,
            "of": total,
            "about_documents": documents,
            "about_tokens": tokens,
        }
        says = f"documents: {_named_changes(by_change)}; {shards} of {total} shards"
        if documents:
            says += f", about {documents:,} document{'s' * (documents != 1)}"
            says += f" and {tokens:,} tokens" if tokens else ""
        return [Cause("documents", says, values)], shards / total

    def _recorded_fingerprint(self, stage: Stage) -> bytes | None:
        """Read the fingerprint with which a stage ran last; None where it has none or it is lost."""
        for dep in stage.deps:
            if _is_print_of(dep, stage):
                return self.build.content(dep.recorded)
        return None

    def _changed_fingerprints(self, stage: Stage) -> list[Cause]:
        """Return for the stage that fingerprints the code: whose fingerprints will differ."""
        recorded: dict[str, str] = {}
        for out in stage.outs:
            if out.path == PRINTS:
                recorded = self.build.listing(out.recorded) or {}
        if not recorded:
            return []
        stages = []
        for path in self.hashes.prints:
            if recorded.get(Path(path).name) != self.hashes.after[path]:
                stages.append(Path(path).stem)
        says = "it changes no fingerprint (only comments, docstrings, layout or unused code)"
        if stages:
            says = f"it changes the fingerprint of {listed(stages)}"
        return [Cause("code", says, {"stages": stages})]


def _changed_deps(stage: Stage, inputs: dict[str, str | None]) -> Iterator[tuple[StagePath, str]]:
    """Yield the dependencies whose content is known and differs from the last run's, with their MD5."""
    for dep in stage.deps:
        md5 = inputs[dep.path]
        if md5 is not None and md5 != dep.recorded:
            yield dep, md5


def _is_print(dep: StagePath) -> bool:
    return dep.path.startswith(f"{PRINTS}/")


def _is_print_of(dep: StagePath, stage: Stage) -> bool:
    """Return whether a dependency is the fingerprint of the stage itself."""
    return dep.path == f"{PRINTS}/{stage.name.partition('@')[0]}.json"


def _upstream_cause(stages: list[str]) -> Cause:
    return Cause("upstream", f"if the outputs of {' or '.join(stages)} change", {"stages": stages})


def _named_changes(by_change: dict[str, list[str]]) -> str:
    """Return "2 added (a.txt, b.txt), 1 removed (c.txt)"."""
    changes = []
    for change, sources in by_change.items():
        if sources:
            changes.append(f"{len(sources):,} {change} ({listed(sources)})")
    return ", ".join(changes)


def _in_shards(share: float) -> tuple[int, int]:
    """Estimate the documents and tokens in a share of the shards, from the last build's reports."""
    documents = last_report("collect").get("documents", 0)
    tokens = sum(last_report("pack").get("tokens", {}).values())
    return _roughly(documents * share), _roughly(tokens * share)


def _roughly(number: float) -> int:
    """Round to two digits; a share of the shards allows no more precise estimate."""
    digits = len(str(round(number)))
    return round(round(number), min(0, 2 - digits))


def last_report(stage: str) -> dict[str, Any]:
    """Return what a stage reported when it ran last, {} where it has not, or a build is writing it."""
    with suppress(OSError, ValueError):
        return json.loads((REPORTS / f"{stage}.json").read_text("utf-8"))
    return {}


def _notes() -> list[str]:
    """Return what will stop the build, whatever runs, what DVC does not see, and where the vocabulary has aged.

    Raises SeveralFaults where DVC could not even read the repository.
    """
    problems = find_problems()
    blocking: list[str] = []
    notes: list[str] = []
    for problem in problems:
        notes += ["", *problem.lines()]
        if problem.blocks_dvc:
            blocking += problem.lines()
    if blocking:
        raise SeveralFaults("DVC could not run the build:", [f"  {line}" for line in blocking])
    current = python_version()
    for version in sorted(_recorded_pythons() - {current}):
        mismatch = f"The code was fingerprinted with Python {version}, and this is {current}"
        notes.append(f"{mismatch}: run `{FORCE_FINGERPRINT}` first.")
    words = misfit(last_report("tokenizer"))
    if words:
        notes.append(f"vocabulary: {words}")
    return notes


def _recorded_pythons() -> set[str]:
    """Return the versions of Python in the fingerprints."""
    versions = set()
    for path in FOLDER.glob("*.json"):
        with suppress(OSError, ValueError, KeyError):
            versions.add(json.loads(path.read_text("utf-8"))["python"])
    return versions
