"""Who said how much, and how much it counts: one judgement per person and thing, caps, and a weight with its reasons.

    weight = reliability * allowed / said      `agreement.reliabilities`; `prior_agreement` where nobody judged the same

`allowed` is how much of what a person said the caps let through; copies count as said, so who says one thing 10,000 times is hardly heard.

Everything is a function of the set of records: neither the order of lines nor that of files matters. Which records a cap keeps is chosen by
a hash, so nobody can choose. It removes nobody: who is unreliable counts less and is named.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from privllm.core.params import require
from privllm.core.seed import name_digest, unit_interval
from privllm.feedback.agreement import Units, alpha, reliabilities
from privllm.feedback.reading import RefusedLine, moment
from privllm.feedback.records import Vote
from privllm.feedback.screening import ScreenedRecord


@dataclass
class RaterConfig:
    max_per_rater: int = 2_000  # records of one person; of more, these remain, and the person counts less; >= 1
    max_per_prompt: int = 20  # of one person in conversations that open alike, >= 1
    prior_agreement: float = 0.5  # what is believed of a person whom nobody can be compared with, [0, 1]
    prior_units: float = 5.0  # shared judgements by which the prior outweighs what is seen, > 0
    named_below: float = 0.25  # reliability under which a person is named as disagreeing, [0, 1]

    def __post_init__(self) -> None:
        require(self.max_per_rater >= 1, "feedback.raters.max_per_rater", "at least 1")
        require(self.max_per_prompt >= 1, "feedback.raters.max_per_prompt", "at least 1")
        require(0 <= self.prior_agreement <= 1, "feedback.raters.prior_agreement", "between 0 and 1")
        require(self.prior_units > 0, "feedback.raters.prior_units", "above 0")
        require(0 <= self.named_below <= 1, "feedback.raters.named_below", "between 0 and 1")


@dataclass(frozen=True)
class Rater:
    rater: str
    said: int  # records that passed the door, copies included
    kept: int
    shared: int  # kept judgements of things that others judged too
    reliability: float
    weight: float
    named: tuple[str, ...]  # flood, disagrees


Kept = tuple[list[ScreenedRecord], list[RefusedLine]]


def limit(cfg: RaterConfig, passed: Iterable[ScreenedRecord]) -> Kept:
    """One judgement per person and thing (the latest), and no more of anybody than the caps; what goes has a reason."""
    refused: list[RefusedLine] = []
    kept = _latest(passed, lambda one: one.key, refused)
    kept = _latest(kept, lambda one: name_digest(one.rater, *thing_of(one)), refused)
    kept = _capped(kept, lambda one: f"{one.rater}/{one.opening}", cfg.max_per_prompt, "on one prompt", refused)
    kept = _capped(kept, lambda one: one.rater, cfg.max_per_rater, "in all", refused)
    return sorted(kept, key=lambda one: one.key), refused


def thing_of(one: ScreenedRecord) -> tuple[str, ...]:
    """What was judged: messages and reply, or messages and both replies whichever stood left."""
    said = [f"{message.role}:{message.content}" for message in one.record.messages]
    record = one.record
    judged = sorted([record.left.text, record.right.text]) if isinstance(record, Vote) else [record.reply]
    return type(record).__name__, name_digest(*said), *judged


def value_of(one: ScreenedRecord) -> str:
    """The judgement as others may share it: of a vote, whether the reply that sorts first won; "" where there is only a correction."""
    record = one.record
    if not isinstance(record, Vote):
        return record.thumb
    if record.choice in ("tie", "both_bad"):
        return record.choice
    return "first" if (record.choice == "left") == (record.left.text < record.right.text) else "second"


def _latest(passed: Iterable[ScreenedRecord], key: Callable[[ScreenedRecord], str], refused: list[RefusedLine]) -> list[ScreenedRecord]:
    groups: defaultdict[str, list[ScreenedRecord]] = defaultdict(list)
    for one in passed:
        groups[key(one)].append(one)
    kept = []
    for group in groups.values():
        *before, last = sorted(group, key=_age)
        kept.append(last)
        for one in before:
            same = value_of(one) == value_of(last) and getattr(one.record, "correction", "") == getattr(last.record, "correction", "")
            reason = ("duplicate", "the same person said it already") if same else ("replaced", "the same person said otherwise later")
            refused.append(RefusedLine(one.line, *reason))
    return kept


def _age(one: ScreenedRecord) -> tuple[Any, ...]:
    # A line's digest decides between equals, and its place only between equal lines.
    return getattr(one.record, "edition", 1), moment(one.record), one.line.digest, one.line.source


def _capped(
    passed: list[ScreenedRecord], key: Callable[[ScreenedRecord], str], most: int, what: str, refused: list[RefusedLine]
) -> list[ScreenedRecord]:
    seen: Counter[str] = Counter()
    kept = []
    for one in sorted(passed, key=lambda one: (unit_interval("cap", one.key), one.key)):
        seen[key(one)] += 1
        if seen[key(one)] <= most:
            kept.append(one)
        else:
            refused.append(RefusedLine(one.line, "flood", f"more than {most:,} of one person {what}"))
    return kept


def shared_units(kept: Sequence[ScreenedRecord]) -> dict[str, Units]:
    """{kind: what each thing was called by each person}, for agreement."""
    units: dict[str, dict[tuple[str, ...], dict[str, str]]] = {"Rating": {}, "Vote": {}}
    for one in kept:
        if value := value_of(one):
            units[type(one.record).__name__].setdefault(thing_of(one), {})[one.rater] = value
    return {kind: list(things.values()) for kind, things in units.items()}


def agreement(kept: Sequence[ScreenedRecord]) -> dict[str, float | None]:
    """Krippendorff's alpha of thumbs and of votes; None where nobody judged the same, or all said the same."""
    found = {kind: alpha(units) for kind, units in shared_units(kept).items()}
    return {name: None if found[kind] is None else round(found[kind], 4) for name, kind in (("thumbs", "Rating"), ("votes", "Vote"))}  # type: ignore[arg-type]


def weigh(cfg: RaterConfig, passed: Sequence[ScreenedRecord], kept: Sequence[ScreenedRecord]) -> dict[str, Rater]:
    """{pseudonym: what is known of the person}, by name. `passed` is what came through the door, `kept` what `limit` left."""
    remain = Counter(one.rater for one in kept)
    known = reliabilities(list(shared_units(kept).values()), cfg.prior_agreement, cfg.prior_units)
    found = {}
    for rater, prompts in sorted(_prompts(passed).items()):
        said, allowed = prompts.total(), min(cfg.max_per_rater, sum(min(n, cfg.max_per_prompt) for n in prompts.values()))
        shared, reliability = known.get(rater, (0, cfg.prior_agreement))
        named = ("flood",) * (allowed < said) + ("disagrees",) * (shared > 0 and reliability < cfg.named_below)
        weight = reliability * allowed / said
        found[rater] = Rater(rater, said, remain[rater], shared, round(reliability, 4), round(weight, 4), named)
    return found


def _prompts(passed: Sequence[ScreenedRecord]) -> dict[str, Counter[str]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in passed:
        found[one.rater][one.opening] += 1
    return found
