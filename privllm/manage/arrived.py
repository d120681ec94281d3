"""Arrived actions: a sample of what came from a remote is made again before the store takes any of it.

The stages are those of `manage.audit`: each runs once more in this process, on the inputs in the
workspace and into a scratch folder. Of every map, some of the actions that have just arrived are made
again by the code alone; all other results come from the record, and the outputs are compared with the
workspace, file by file. So a false action in a stage that is drawn is found in either of two ways. One
in a stage that is not drawn goes unnoticed until `privllm audit`.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privllm.engine.actions import Job
from privllm.engine.cache import Cache
from privllm.engine.pipeline import declared_stages
from privllm.manage.audit import Audited, AuditStore, Fault, audit_stage


@dataclass
class Sampled:
    """What became of the sample."""

    made: dict[str, int] = field(default_factory=dict)  # {stage: actions made again}
    skipped: dict[str, str] = field(default_factory=dict)  # {stage: why it could not run}
    failed: dict[str, str] = field(default_factory=dict)  # {stage: the error that it ended with}
    faults: list[Fault] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Return how many actions were made again."""
        return sum(self.made.values())


class ArrivalStore(AuditStore):
    """A store whose record has the arrived actions too, and which makes only such actions again."""

    def __init__(
        self, cache: Cache, code: str, findings: Audited, arrived: Mapping[str, Path], sample: tuple[int, int]
    ) -> None:
        """`arrived` are the files of actions by key; `sample` is how many of each map, and the seed."""
        super().__init__(cache, code, findings, *sample)
        self.arrived = arrived
        self.made = 0

    def _recorded_at(self, key: str) -> Path:
        return self.arrived.get(key) or super()._recorded_at(key)

    def _sample(self, function: Callable[..., Any], jobs: Sequence[Job]) -> set[int]:
        numbers = [index for index, job in enumerate(jobs) if self.record.key_of(function, job) in self.arrived]
        drawn = self._draw(function, numbers)
        self.made += len(drawn)
        return drawn


def make_sample_again(cache: Cache, stages: Mapping[str, Mapping[str, Path]], count: int, seed: int) -> Sampled:
    """Make `count` actions again, or a few more, and compare them with what arrived.

    stages: {stage: {key: file of an action}}. Stages come in a random order until there are enough; of
    each, equally many actions of every map.
    """
    sampled = Sampled()
    declared = {name: entry for name, entry in declared_stages().items() if name.partition("@")[0] in stages}
    order = sorted(declared)
    random.Random(seed).shuffle(order)
    per_map = math.ceil(count / max(len(order), 1))
    for name in order:
        if sampled.count >= count:
            break
        made = _sample_stage(cache, name, declared[name], stages[name.partition("@")[0]], (per_map, seed), sampled)
        if made:
            sampled.made[name] = made
    return sampled


def _sample_stage(
    cache: Cache, name: str, declared: dict[str, Any], arrived: Mapping[str, Path], sample: tuple[int, int], to: Sampled
) -> int:
    """Make actions of one stage again; return how many. What was found goes into `to`."""
    stores: list[ArrivalStore] = []

    def open_record(code: str, findings: Audited) -> ArrivalStore:
        stores.append(ArrivalStore(cache, code, findings, arrived, sample))
        return stores[-1]

    try:
        findings = audit_stage(name, declared, open_record, set())
    except Exception as error:  # code that trusts its record may fail in any way on a false one
        to.failed[name] = f"{type(error).__name__}: {error}"
        return 0
    to.faults += findings.faults
    if findings.skipped:
        to.skipped[name] = findings.skipped
        return 0
    return sum(store.made for store in stores)
