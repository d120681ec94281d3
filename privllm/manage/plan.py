"""`privllm plan`: what `dvc repro` would run, why, and for how long, before it runs.

Stage by stage in DVC's order: what its inputs will be is foretold, and what differs from its last run is why it runs. Nothing
is run, and nothing in the workspace is written.
"""

import json
from contextlib import suppress
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.params import load_sections
from privllm.core.printable import printable
from privllm.core.work_paths import LOG_FILE
from privllm.engine.fingerprint import FOLDER
from privllm.engine.module_analysis import python_version
from privllm.engine.params_check import require_sound_params
from privllm.engine.skipped_families import notes_of, skipped_stages
from privllm.manage.check import find_problems
from privllm.manage.durations import about, predict, read_log
from privllm.manage.dvc_state import Build, Place, Stage, open_build
from privllm.manage.forecast import PRINTS, Forecast
from privllm.manage.rebuild_causes import Cause, fingerprints, listed, parameters

RUNS, MAY_RUN, CACHED, UP_TO_DATE = "runs", "may run", "from the run cache", "up to date"
SOURCES = "data/sources"
FOUND_AGAIN = {"command", "output"}  # causes after which the store knows every shard
REPORTS = Path("reports")
NAMES = 100  # documents named in the JSON


class Step(NamedTuple):
    stage: str
    verdict: str  # RUNS, MAY_RUN (DVC skips it where its inputs come out equal), CACHED or UP_TO_DATE
    causes: list[Cause]
    share: float  # of its shards that are made anew, about
    seconds: float | None  # about; None where no record says


class Plan(NamedTuple):
    steps: list[Step]
    notes: list[str]

    def seconds(self, *verdicts: str) -> float:
        """Of the stages with these verdicts, as far as records say."""
        return sum(step.seconds or 0.0 for step in self.steps if step.verdict in verdicts)

    @property
    def untimed(self) -> list[str]:
        return [step.stage for step in self.steps if step.seconds is None]

    def as_json(self) -> dict[str, Any]:
        return {
            "stages": [
                {
                    "stage": step.stage,
                    "verdict": step.verdict,
                    "causes": [{"kind": cause.kind, "says": cause.says, **cause.values} for cause in step.causes],
                    "seconds": None if step.seconds is None else round(step.seconds, 1),
                }
                for step in self.steps
            ],
            "seconds": round(self.seconds(RUNS), 1),
            "seconds_at_most": round(self.seconds(RUNS, MAY_RUN), 1),
            "seconds_unknown": self.untimed,
            "notes": self.notes,
        }

    def lines(self, columns: int = 140) -> list[str]:
        """For a terminal: a paragraph per stage that says its causes, and the time in all."""
        width = max((len(step.stage) for step in self.steps), default=0)
        shown = []
        for step in self.steps:
            time = about(step.seconds) if step.verdict in (RUNS, MAY_RUN) else ""
            head = f"{step.stage:{width}}  {step.verdict:{len(CACHED)}}  {time:>14}  "
            rows = [row for cause in step.causes for row in wrap(printable(cause.says), max(40, columns - len(head)))]
            shown += [f"{head}{''.join(rows[:1])}".rstrip(), *(" " * len(head) + row for row in rows[1:])]
        return [*shown, "", self._total(), *self.notes]

    def _total(self) -> str:
        verdicts = {step.verdict for step in self.steps}
        if verdicts <= {UP_TO_DATE}:
            return "Nothing would run."
        parts = [f"In all {about(self.seconds(RUNS))}"] if self.seconds(RUNS, MAY_RUN) or not self.untimed else []
        if parts and MAY_RUN in verdicts:
            parts[0] += f", or {about(self.seconds(RUNS, MAY_RUN))} if all runs that may run"
        if self.untimed:
            parts.append(f"{'no' if parts else 'No'} record says how long {listed(self.untimed)} would take")
        return f"{'; '.join(parts)}."


def make_plan(target: str | None = None, log: Path = LOG_FILE) -> Plan:
    """What `dvc repro [target]` would do in the working directory, a repository's root.

    Raises UserError where params.yaml has a fault, DVC cannot read the build, or its code cannot be parsed.
    """
    require_sound_params(remember=False)
    notes = _notes()
    with open_build() as build:
        planner = Planner(build, log)
        return Plan([planner.step(stage) for stage in build.stages(target)], [*notes, *notes_of(planner.skipped)])


class Planner:
    """Takes stages in the order of the build."""

    def __init__(self, build: Build, log: Path) -> None:
        self.build = build
        self.forecast = Forecast(build)
        self.records = read_log(log)
        self.shares: dict[str, float] = {}
        self.skipped = skipped_stages(load_sections())

    def step(self, stage: Stage) -> Step:
        inputs = {dep.path: self.forecast.of(dep) for dep in stage.deps}
        makers = {maker for path, md5 in inputs.items() if md5 is None for maker in self.forecast.makers_of(path)}
        waiting = [] if stage.frozen else [name for name in self.shares if name in makers]  # in the order of the build
        causes, own = ([], 0.0) if stage.frozen else self._causes(stage, inputs)
        known = None if waiting else self.build.known_run(stage, {path: md5 or "" for path, md5 in inputs.items()})
        if not causes and not waiting:
            verdict = UP_TO_DATE
            self.forecast.settle(stage, {out.path: out.recorded for out in stage.outs}, lies_there=True)
        elif known:
            verdict = CACHED
            self.forecast.settle(stage, known)
        else:
            verdict = RUNS if causes else MAY_RUN
            self.forecast.settle(stage, None)
            causes = [*causes, *self._meaning(stage)] or [_upstream(waiting)]
        share = self.shares[stage.name] = max([own, *(self.shares[name] for name in waiting)])
        seconds = predict(self.records.get(stage.name, []), share) if verdict in (RUNS, MAY_RUN) and stage.name not in self.skipped else 0.0
        return Step(stage.name, verdict, causes, share, seconds)

    def _causes(self, stage: Stage, inputs: dict[str, str | None]) -> tuple[list[Cause], float]:
        """What differs from the last run, and the share of the shards that this makes anew."""
        if not stage.locked:
            return [Cause("never built", "never built", {})], 1.0
        found: list[Cause] = []
        if stage.locked.get("cmd") != stage.command:
            found.append(Cause("command", "its command changed", {"old": stage.locked.get("cmd"), "new": stage.command}))
        for file, values in stage.params.items():
            found += parameters(stage.recorded_params[file], values)
        changed = [(dep, md5) for dep in stage.deps if (md5 := inputs[dep.path]) is not None and md5 != dep.recorded]
        own = stage.name.partition("@")[0]
        others = [Path(dep.path).stem for dep, _ in changed if _is_print(dep) and Path(dep.path).stem != own]
        found += [Cause("code", f"the code or libraries of {listed(others)} changed", {"stages": others})] if others else []
        share = 1.0 if any(cause.kind not in FOUND_AGAIN for cause in found) else 0.0
        for dep, md5 in changed:
            if not (_is_print(dep) and Path(dep.path).stem in others):
                more, part = self._documents(stage, dep, md5) if dep.path == SOURCES and md5 else self._input(dep, md5)
                found += more
                share = max(share, part)
        found += [Cause("output", f"{path} {word}", {"path": path, "what": word}) for path, word in self.build.spoilt(stage).items()]
        found += [Cause("always", "it always runs", {})] if stage.always else []
        return found, share

    def _input(self, dep: Place, md5: str) -> tuple[list[Cause], float]:
        """Why a dependency that is no folder of documents is another than it was, and the share of its files that are."""
        if _is_print(dep) and md5 and (old := self.build.content(dep.recorded)) and (new := self.forecast.fingerprint(dep.path, md5)):
            return fingerprints(json.loads(old), new) or [Cause("code", "its fingerprint changed", {})], 1.0
        what = "is missing" if not md5 else "changed" if dep.recorded else "is new to this stage"
        files = [self.build.listing(side) for side in (dep.recorded, md5)]
        before, after = files[0] or {}, files[1] or {}
        values: dict[str, Any] = {"path": dep.path, "what": what}
        if not (before and after):
            return [Cause("input", f"{dep.path} {what}", values)], 1.0
        changed, total = len({name for name, _ in before.items() ^ after.items()}), len(before.keys() | after.keys())
        return [
            Cause("input", f"{dep.path} {what}, {changed:,} of {total:,} files", values | {"files": changed, "of": total})
        ], changed / total

    def _documents(self, stage: Stage, dep: Place, md5: str) -> tuple[list[Cause], float]:
        """What became of the documents, and the share of the shards that hold one of them."""
        from privllm.manage.changed_documents import changes_since, last_run  # pyarrow and more, which other plans do without

        section = stage.recorded_params.get("params.yaml", {}).get("collect", {})
        code = next((self.build.content(place.recorded) for place in stage.deps if place.path == f"{PRINTS}/{stage.name}.json"), None)
        last = last_run(self.build.cache, code, section)
        changes = changes_since(last, self.build.listing(dep.recorded), Path(dep.path))
        if changes is None:
            return self._input(dep, md5)
        counts = {name: len(sources) for name, sources in changes._asdict().items()}
        if not any(counts.values()):
            return [Cause("documents", f"{dep.path} changed, but none of its documents", counts)], 0.0
        shards, of = changes.shards(last.bits), 2**last.bits
        documents = _roughly(_report("collect").get("documents", 0) * shards / of)
        tokens = _roughly(sum(_report("pack").get("tokens", {}).values()) * shards / of)
        named = [f"{len(sources):,} {word} ({listed(sources)})" for word, sources in changes._asdict().items() if sources]
        says = f"documents: {', '.join(named)}; {shards} of {of} shards"
        says += f", about {documents:,} document{'s' * (documents != 1)}" if documents else ""
        says += f" and {tokens:,} tokens" if documents and tokens else ""
        names = {name: sources[:NAMES] for name, sources in changes._asdict().items()}
        reach = {"names": names, "shards": shards, "of": of, "about_documents": documents, "about_tokens": tokens}
        return [Cause("documents", says, {**counts, **reach})], shards / of

    def _meaning(self, stage: Stage) -> list[Cause]:
        """Of the stage that fingerprints the code: which stages' code comes out as something else."""
        recorded = next((self.build.listing(out.recorded) or {} for out in stage.outs if out.path == PRINTS), {})
        if not recorded:
            return []
        stages = [Path(path).stem for path in self.forecast.prints if recorded.get(Path(path).name) != self.forecast.after[path]]
        says = f"it means something else to {listed(stages)}" if stages else "in nothing that counts (comments, docstrings, layout, unused)"
        return [Cause("code", says, {"stages": stages})]


def _is_print(dep: Place) -> bool:
    return dep.path.startswith(f"{PRINTS}/")


def _upstream(stages: list[str]) -> Cause:
    return Cause("upstream", f"if {' or '.join(stages)} makes something else", {"stages": stages})


def _roughly(number: float) -> int:
    """To two digits: more of them would promise more than a share of shards can say."""
    return round(round(number), min(0, 2 - len(str(round(number)))))


def _report(stage: str) -> dict[str, Any]:
    with suppress(OSError, ValueError):  # none yet, or a build is writing it
        return json.loads((REPORTS / f"{stage}.json").read_text("utf-8"))
    return {}


def _notes() -> list[str]:
    """What will stop the build, whatever runs, and what DVC does not see. Raises UserError where DVC could not even look."""
    problems = find_problems()
    if blocking := [line for problem in problems if problem.blocks_dvc for line in problem.lines()]:
        raise UserError("\n".join(blocking))
    recorded = set()
    for path in FOLDER.glob("*.json"):
        with suppress(OSError, ValueError, KeyError):
            recorded.add(json.loads(path.read_text("utf-8"))["python"])
    return [line for problem in problems for line in ("", *problem.lines())] + [
        f"The code was fingerprinted with Python {version} and this is {python_version()}: run `dvc repro --force fingerprint` first."
        for version in sorted(recorded - {python_version()})
    ]
