"""Weights of raters: one judgement per person and judged item, caps per person, and reliability.

    weight = min(reliability, prior_agreement) * allowed / said      reliability: see `agreement.reliabilities`

`said` counts all records of a person, copies included, and `allowed` how many of them the caps let
through, so who repeats one record 10,000 times hardly counts.

Everything is a function of the set of records: neither the order of lines nor that of files matters.
Agreement earns nothing: people who share nothing but each other agree best, and names cost nothing.
A hash chooses which records a cap keeps, so nobody can choose. Nobody is removed: unreliable people
count less and are named. `voices` then bounds one person's share of all weight.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from privllm.core.params import require
from privllm.core.seed import name_digest, unit_interval
from privllm.feedback.agreement import Units, alpha, reliabilities
from privllm.feedback.reading import RefusedLine, moment
from privllm.feedback.records import Rating, Vote
from privllm.feedback.screening import ScreenedRecord

DIGITS = 4  # of a reliability
WEIGHT_DIGITS = 6
UNDECIDED = ("tie", "both_bad")


@dataclass
class RaterConfig:
    max_per_rater: int = 2_000  # records of one person; of more, these remain, and the person counts less; >= 1
    max_per_prompt: int = 20  # of one person in conversations that open alike, >= 1
    prior_agreement: float = 0.5  # what a person counts for whom nobody contradicts: agreement adds nothing, [0, 1]
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
    rater: str  # pseudonym
    said: int  # records that passed the screening, copies included
    kept: int
    shared: int  # kept judgements of items that others judged too
    reliability: float
    weight: float  # of each record
    named: tuple[str, ...]  # flood, disagrees, voice
    held_out_weight: float = 0.0  # of each record of the held-out part


LimitedRecords = tuple[list[ScreenedRecord], list[RefusedLine]]


def limit(cfg: RaterConfig, screened: Iterable[ScreenedRecord]) -> LimitedRecords:
    """Return (survivors by key, refused lines).

    Of each person and judged item the latest judgement survives, and of each person no more than the
    caps allow.
    """
    refused: list[RefusedLine] = []
    survivors = _latest(screened, lambda record: record.key, refused)
    survivors = _latest(survivors, lambda record: name_digest(record.rater, *judged_item(record)), refused)
    survivors = _capped(survivors, _rater_and_opening, cfg.max_per_prompt, "on one prompt", refused)
    survivors = _capped(survivors, lambda record: record.rater, cfg.max_per_rater, "in all", refused)
    return sorted(survivors, key=lambda record: record.key), refused


def _rater_and_opening(screened: ScreenedRecord) -> str:
    return f"{screened.rater}/{screened.opening}"


def judged_item(screened: ScreenedRecord) -> tuple[str, ...]:
    """Return what was judged: messages and reply, or messages and both replies whichever was on the left."""
    record = screened.record
    messages = [f"{message.role}:{message.content}" for message in record.messages]
    return type(record).__name__, name_digest(*messages), *_sorted_replies(record)


def _sorted_replies(record: Rating | Vote) -> list[str]:
    if isinstance(record, Vote):
        return sorted([record.left.text, record.right.text])
    return [record.reply]


def judgement_of(screened: ScreenedRecord) -> str:
    """Return the judgement as others may share it.

    Of a vote that is whether the reply that sorts first won; "" where there is only a correction.
    """
    record = screened.record
    if not isinstance(record, Vote):
        return record.thumb
    if record.choice in UNDECIDED:
        return record.choice
    left_sorts_first = record.left.text < record.right.text
    return "first" if (record.choice == "left") == left_sorts_first else "second"


def _latest(
    records: Iterable[ScreenedRecord],
    group_key: Callable[[ScreenedRecord], str],
    refused: list[RefusedLine],
) -> list[ScreenedRecord]:
    """Return the latest record of each group, and append all earlier ones to `refused`."""
    groups: defaultdict[str, list[ScreenedRecord]] = defaultdict(list)
    for record in records:
        groups[group_key(record)].append(record)
    latest_records = []
    for group in groups.values():
        *earlier_records, latest = sorted(group, key=_age)
        latest_records.append(latest)
        refused += [_superseded(earlier, latest) for earlier in earlier_records]
    return latest_records


def _superseded(earlier: ScreenedRecord, latest: ScreenedRecord) -> RefusedLine:
    if judgement_of(earlier) == judgement_of(latest) and _correction_of(earlier) == _correction_of(latest):
        return RefusedLine(earlier.line, "duplicate", "the same person said it already")
    return RefusedLine(earlier.line, "replaced", "the same person said otherwise later")


def _correction_of(screened: ScreenedRecord) -> str:
    record = screened.record
    return "" if isinstance(record, Vote) else record.correction


def _age(screened: ScreenedRecord) -> tuple[Any, ...]:
    # A line's digest decides between equals, and its place only between equal lines.
    record, line = screened.record, screened.line
    edition = 1 if isinstance(record, Vote) else record.edition
    return edition, moment(record), line.digest, line.source


def _capped(
    records: list[ScreenedRecord],
    group_key: Callable[[ScreenedRecord], str],
    cap: int,
    scope: str,
    refused: list[RefusedLine],
) -> list[ScreenedRecord]:
    """Return at most `cap` records of each group, chosen by hash; append the others to `refused`."""
    counts: Counter[str] = Counter()
    survivors = []
    for record in sorted(records, key=_hash_order):
        group = group_key(record)
        counts[group] += 1
        if counts[group] <= cap:
            survivors.append(record)
        else:
            refused.append(RefusedLine(record.line, "flood", f"more than {cap:,} of one person {scope}"))
    return survivors


def _hash_order(screened: ScreenedRecord) -> tuple[float, str]:
    return unit_interval("cap", screened.key), screened.key


def shared_units(records: Sequence[ScreenedRecord]) -> dict[str, Units]:
    """Return {"Rating" or "Vote": the judgements by rater of each judged item}, for agreement."""
    units: dict[str, dict[tuple[str, ...], dict[str, str]]] = {"Rating": {}, "Vote": {}}
    for screened in records:
        judgement = judgement_of(screened)
        if judgement:
            units_of_kind = units[type(screened.record).__name__]
            units_of_kind.setdefault(judged_item(screened), {})[screened.rater] = judgement
    return {kind: list(by_item.values()) for kind, by_item in units.items()}


def agreement(records: Sequence[ScreenedRecord]) -> dict[str, float | None]:
    """Return Krippendorff's alpha of thumbs and of votes; None where it is not defined."""
    units = shared_units(records)
    return {"thumbs": _rounded_alpha(units["Rating"]), "votes": _rounded_alpha(units["Vote"])}


def _rounded_alpha(units: Units) -> float | None:
    value = alpha(units)
    return None if value is None else round(value, DIGITS)


def weigh(
    cfg: RaterConfig,
    screened: Sequence[ScreenedRecord],
    survivors: Sequence[ScreenedRecord],
) -> dict[str, Rater]:
    """Return {pseudonym: Rater}, sorted.

    `screened` are the records that passed the screening, `survivors` those that `limit` left.
    """
    survivor_counts = Counter(record.rater for record in survivors)
    unit_groups = list(shared_units(survivors).values())
    reliability_of = reliabilities(unit_groups, cfg.prior_agreement, cfg.prior_units)
    raters = {}
    for rater, records_by_opening in sorted(_openings_by_rater(screened).items()):
        said = records_by_opening.total()
        allowed_by_opening = sum(min(count, cfg.max_per_prompt) for count in records_by_opening.values())
        allowed = min(cfg.max_per_rater, allowed_by_opening)
        shared, reliability = reliability_of.get(rater, (0, cfg.prior_agreement))
        named = []
        if allowed < said:
            named.append("flood")
        if shared > 0 and reliability < cfg.named_below:
            named.append("disagrees")
        raters[rater] = Rater(
            rater,
            said,
            survivor_counts[rater],
            shared,
            round(reliability, DIGITS),
            round(min(reliability, cfg.prior_agreement) * allowed / said, WEIGHT_DIGITS),
            tuple(named),
        )
    return raters


def _openings_by_rater(records: Sequence[ScreenedRecord]) -> dict[str, Counter[str]]:
    """Return {rater: number of records by opening}."""
    openings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        openings[record.rater][record.opening] += 1
    return openings
