"""Plan of a build: what `dvc repro` would do with each stage, for a terminal and as JSON."""

from textwrap import wrap
from typing import Any, NamedTuple

from privllm.core.printable import printable
from privllm.manage.durations import about
from privllm.manage.rebuild_causes import Cause, listed

RUNS, MAY_RUN, CACHED, UP_TO_DATE = "runs", "may run", "from the run cache", "up to date"


class PlannedStage(NamedTuple):
    """What `dvc repro` would do with one stage."""

    stage: str
    verdict: str  # RUNS, MAY_RUN (DVC skips it where its inputs come out equal), CACHED or UP_TO_DATE
    causes: list[Cause]
    share: float  # of its shards that are made anew, estimated
    seconds: float | None  # estimated; None without records

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "verdict": self.verdict,
            "causes": [{"kind": cause.kind, "says": cause.says, **cause.values} for cause in self.causes],
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }


class Plan(NamedTuple):
    """What `dvc repro` would do, stage by stage."""

    steps: list[PlannedStage]
    notes: list[str]

    def seconds(self, *verdicts: str) -> float:
        """Return the seconds of the stages with these verdicts, as far as records exist."""
        return sum(step.seconds or 0.0 for step in self.steps if step.verdict in verdicts)

    @property
    def to_run(self) -> list[str]:
        """Return the stages that run, or may; those of what is not built take no time."""
        return [step.stage for step in self.steps if step.verdict in (RUNS, MAY_RUN) and step.seconds != 0.0]

    @property
    def untimed(self) -> list[str]:
        return [step.stage for step in self.steps if step.seconds is None]

    def as_json(self) -> dict[str, Any]:
        return {
            "stages": [step.as_json() for step in self.steps],
            "seconds": round(self.seconds(RUNS), 1),
            "seconds_at_most": round(self.seconds(RUNS, MAY_RUN), 1),
            "seconds_unknown": self.untimed,
            "notes": self.notes,
        }

    def lines(self, columns: int = 140) -> list[str]:
        """Return the plan for a terminal: a paragraph per stage with its causes, and the total time."""
        width = max((len(step.stage) for step in self.steps), default=0)
        lines: list[str] = []
        for step in self.steps:
            time = about(step.seconds) if step.verdict in (RUNS, MAY_RUN) else ""
            head = f"{step.stage:{width}}  {step.verdict:{len(CACHED)}}  {time:>14}  "
            causes: list[str] = []
            for cause in step.causes:
                causes += wrap(printable(cause.says), max(40, columns - len(head)))
            lines.append(f"{head}{''.join(causes[:1])}".rstrip())
            lines += [" " * len(head) + cause for cause in causes[1:]]
        return [*lines, "", self._total(), *self.notes]

    def _total(self) -> str:
        verdicts = {step.verdict for step in self.steps}
        if verdicts <= {UP_TO_DATE}:
            return "Nothing would run."
        at_most = self.seconds(RUNS, MAY_RUN)
        sentence = ""
        if at_most or not self.untimed:
            sentence = f"In all {about(self.seconds(RUNS))}"
            if MAY_RUN in verdicts:
                sentence += f", or {about(at_most)} if all runs that may run"
        if self.untimed:
            sentence += "; no" if sentence else "No"
            sentence += f" record says how long {listed(self.untimed)} would take"
        return f"{sentence}."
