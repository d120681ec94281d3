"""Feedback stage: what people said becomes corrections, preferences, and a held-out part to evaluate with.

    sft.jsonl          prompt, reply (the correction), instead_of, weight     a rating with a correction
    preferences.jsonl  prompt, chosen, rejected, weight, votes           all votes on two replies to one prompt, added up
    held_out.jsonl     ratings and votes of the held-out prompts, one by one
    raters.jsonl       `raters.Rater`, by pseudonym                      quarantine.jsonl   source, digest, bytes, reason, detail

A conversation's first question decides whether it is held out, so all feedback on a prompt, and on
every later turn, is on one side. `weight` in [0, 1] is how much a row should count. A pseudonym is a
plain hash: it keeps names out of shared files, but whoever guesses a name can check it. No model is
trained here, and quarantine repeats no text.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from privllm.core.params import require
from privllm.core.printable import say
from privllm.core.report import add_up, balance, write_json_lines
from privllm.core.seed import name_digest, unit_interval
from privllm.feedback.raters import Rater, RaterConfig, agreement, judged_item, judgement_of, limit, weigh
from privllm.feedback.reading import RefusedLine, files_of, read_files
from privllm.feedback.records import Message, Vote
from privllm.feedback.screening import CleanText, CountPersonalData, ScreenedRecord, screen, texts_of
from privllm.feedback.topics import weak_topics
from privllm.feedback.voices import bound_voices, largest_voice

Row = dict[str, Any]
# (rows of `table_of`, totals, limits of the warnings) -> entries of the report. Raises UserError to stop the build.
Check = Callable[[list[Row], Row, Mapping[str, float]], Row]
CACHED_TEXTS = 64  # each at most a line long; a flood repeats one text many times
MIN_LEAD = 1e-6  # a smaller weight would be written as 0
DIGITS = 6
LIMITS = ("max_quarantined", "min_agreement", "max_voice")


@dataclass
class FeedbackConfig:
    max_kilobytes: int = 1_024  # a longer line is quarantined unread, [1, 1_000_000]
    held_out: float = 0.1  # share of prompts kept back, by a hash of the conversation's first question, [0, 1]
    max_quarantined: float = 0.2  # share of lines above which the report warns, [0, 1]
    min_agreement: float = 0.2  # Krippendorff's alpha of thumbs, and of votes, below which it warns, [-1, 1]
    # share of all weight that one person has at most, unless there are too few; 1 = no bound, (0, 1]
    max_voice: float = 0.5
    raters: RaterConfig = field(default_factory=RaterConfig)

    def __post_init__(self) -> None:
        require(1 <= self.max_kilobytes <= 1_000_000, "feedback.max_kilobytes", "between 1 and 1,000,000")
        require(0 <= self.held_out <= 1, "feedback.held_out", "a share between 0 and 1")
        require(0 <= self.max_quarantined <= 1, "feedback.max_quarantined", "a share between 0 and 1")
        require(-1 <= self.min_agreement <= 1, "feedback.min_agreement", "between -1 and 1")
        require(0 < self.max_voice <= 1, "feedback.max_voice", "a share above 0, at most 1")


def feedback(
    cfg: FeedbackConfig,
    source: Path,
    out: Path,
    clean_text: CleanText,
    count_personal_data: CountPersonalData,
    check: Check,
) -> dict[str, Any]:
    """Write the five files above from every `*.jsonl` in `source` and return the report.

    See `screening` for `clean_text` and `count_personal_data`.
    """
    clean_text = lru_cache(CACHED_TEXTS)(clean_text)
    count_personal_data = lru_cache(CACHED_TEXTS)(count_personal_data)
    screened, refused = _read_and_screen(cfg, source, clean_text, count_personal_data)
    survivors, limited = limit(cfg.raters, screened)
    refused += limited
    kept = kept_by_side(cfg, survivors)
    raters = bound_voices(weigh(cfg.raters, screened, survivors), kept, cfg.max_voice)
    files, uses = rows_of(cfg, survivors, raters)
    line_count = len(survivors) + len(refused)
    balance(line_count, len(refused), *uses.values())
    files["raters"] = [asdict(rater) for rater in raters.values()]
    files["quarantine"] = quarantine_of(refused)
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        write_json_lines(out / f"{name}.jsonl", rows)
    alphas = agreement(survivors)
    report: dict[str, Any] = {
        **uses,
        "files": len(files_of(source)),
        "lines": line_count,
        "kept": len(survivors),
        "preferences": len(files["preferences"]),
        "quarantined": dict(sorted(Counter(line.reason for line in refused).items())),
        "raters": len(raters),
        "named": {rater.rater: ", ".join(rater.named) for rater in raters.values() if rater.named},
        "agreement": {kind: value for kind, value in alphas.items() if value is not None},
        "placeholders": add_up(record.placeholders for record in survivors),
        "weak_spots": weak_topics(survivors, raters),
    }
    if not survivors:
        yet = "" if line_count else " yet"
        say(f"{source} holds no feedback that can be used{yet}: the files in {out} are empty but for the quarantine.")
        return report | {"expectations": 0}
    totals = totals_of(cfg, report, survivors, largest_voice(raters, kept))
    return report | check(table_of(cfg, survivors, raters), totals, limits_of(cfg))


def _read_and_screen(
    cfg: FeedbackConfig,
    source: Path,
    clean_text: CleanText,
    count_personal_data: CountPersonalData,
) -> tuple[list[ScreenedRecord], list[RefusedLine]]:
    """Return (records that passed the screening, refused lines)."""
    screened: list[ScreenedRecord] = []
    refused: list[RefusedLine] = []
    for line in read_files(source, cfg.max_kilobytes << 10):
        result = line if isinstance(line, RefusedLine) else screen(line, clean_text, count_personal_data)
        if isinstance(result, RefusedLine):
            refused.append(result)
        else:
            screened.append(result)
    return screened, refused


def is_held_out(cfg: FeedbackConfig, screened: ScreenedRecord) -> bool:
    """Return whether the record's conversation is held out, by a hash of its first question."""
    return unit_interval("feedback", screened.opening) < cfg.held_out


def side_of(cfg: FeedbackConfig, screened: ScreenedRecord) -> str:
    return "held out" if is_held_out(cfg, screened) else "training"


def kept_by_side(cfg: FeedbackConfig, records: Iterable[ScreenedRecord]) -> dict[str, Counter[str]]:
    """Return {side: number of records by rater}."""
    kept: dict[str, Counter[str]] = {"training": Counter(), "held out": Counter()}
    for screened in records:
        kept[side_of(cfg, screened)][screened.rater] += 1
    return kept


def weight_of(cfg: FeedbackConfig, screened: ScreenedRecord, raters: Mapping[str, Rater]) -> float:
    """Return how much the record counts on its side."""
    rater = raters[screened.rater]
    return rater.held_out_weight if is_held_out(cfg, screened) else rater.weight


def rows_of(
    cfg: FeedbackConfig,
    records: Sequence[ScreenedRecord],
    raters: Mapping[str, Rater],
) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """Return ({file: rows}, how many records each use got). Every record has one use."""
    files: dict[str, list[Row]] = {"sft": [], "preferences": [], "held_out": []}
    thumbs = 0  # ratings without a correction: they say who agrees and which topics go badly, and teach nothing
    votes: list[ScreenedRecord] = []
    for screened in records:
        record = screened.record
        row = {
            "id": screened.key,
            "rater": screened.rater,
            "weight": weight_of(cfg, screened, raters),
            "prompt": prompt_of(record.messages),
        }
        if is_held_out(cfg, screened):
            files["held_out"].append(row | judgement_fields(screened))
        elif isinstance(record, Vote):
            votes.append(screened)
        elif record.correction:
            files["sft"].append(row | {"reply": record.correction, "instead_of": record.reply})
        else:
            thumbs += 1
    files["preferences"], decided_votes = preferences(votes, raters)
    uses = {"sft": len(files["sft"]), "thumbs": thumbs, "held_out": len(files["held_out"])}
    uses |= {"preference_votes": decided_votes, "undecided": len(votes) - decided_votes}
    return files, uses


def preferences(votes: Iterable[ScreenedRecord], raters: Mapping[str, Rater]) -> tuple[list[Row], int]:
    """Return (rows by id, number of votes in them).

    Of each two replies to one prompt the reply with more weight behind it is preferred, by the
    difference in weight, at most 1. Ties and "both bad" prefer nothing; neither does a pair on which
    the votes cancel out.
    """
    groups: defaultdict[tuple[str, ...], list[ScreenedRecord]] = defaultdict(list)
    for vote in votes:
        if judgement_of(vote) in ("first", "second"):
            groups[judged_item(vote)].append(vote)
    rows, decided_votes = [], 0
    for item, group in groups.items():
        lead = math.fsum(_signed_weight(vote, raters) for vote in group)
        if abs(lead) < MIN_LEAD:
            continue
        *_, first, second = item
        chosen, rejected = (first, second) if lead > 0 else (second, first)
        rows.append(
            {
                "id": name_digest("preference", *item),
                "prompt": prompt_of(group[0].record.messages),
                "chosen": chosen,
                "rejected": rejected,
                "weight": round(min(1.0, abs(lead)), DIGITS),
                "votes": len(group),
            }
        )
        decided_votes += len(group)
    return sorted(rows, key=lambda row: row["id"]), decided_votes


def _signed_weight(vote: ScreenedRecord, raters: Mapping[str, Rater]) -> float:
    """Return the rater's weight, negative for a vote against the reply that sorts first."""
    weight = raters[vote.rater].weight
    return weight if judgement_of(vote) == "first" else -weight


def prompt_of(messages: Iterable[Message]) -> list[Row]:
    return [asdict(message) for message in messages]


def judgement_fields(screened: ScreenedRecord) -> Row:
    """Return the fields of a held-out row that say how its replies were judged."""
    record = screened.record
    if isinstance(record, Vote):
        return {
            "kind": "vote",
            "left": record.left.text,
            "right": record.right.text,
            "choice": record.choice,
            "left_model": record.left.model.digest,
            "right_model": record.right.model.digest,
        }
    return {
        "kind": "rating",
        "reply": record.reply,
        "thumb": record.thumb,
        "correction": record.correction,
        "model": record.model.digest,
    }


def quarantine_of(refused: Iterable[RefusedLine]) -> list[Row]:
    """Return the rows of quarantine.jsonl, in the order of files and lines."""
    by_place = sorted(refused, key=lambda refusal: _place(refusal.line.source))
    return [{**refusal.line._asdict(), "reason": refusal.reason, "detail": refusal.detail} for refusal in by_place]


def _place(source: str) -> tuple[str, int]:
    file, _, number = source.rpartition("#")
    return file, int(number)


def table_of(
    cfg: FeedbackConfig,
    records: Iterable[ScreenedRecord],
    raters: Mapping[str, Rater],
) -> list[Row]:
    """Return one row per record for `check`; `text` holds all texts of the record."""
    return [
        {
            "id": screened.key,
            "source": screened.line.source,
            "kind": type(screened.record).__name__,
            "rater": screened.rater,
            "opening": screened.opening,
            "side": side_of(cfg, screened),
            "weight": weight_of(cfg, screened, raters),
            "text": "\n".join(texts_of(screened.record)),
        }
        for screened in records
    ]


def totals_of(
    cfg: FeedbackConfig,
    report: Mapping[str, Any],
    records: Sequence[ScreenedRecord],
    voice: float,
) -> Row:
    """Return the figures of all records for `check`; a figure that is not defined is NaN."""
    held_out = {record.opening for record in records if is_held_out(cfg, record)}
    training = {record.opening for record in records if not is_held_out(cfg, record)}
    return {
        "lines": report["lines"],
        "accounted": report["kept"] + sum(report["quarantined"].values()),
        "quarantined": 1 - report["kept"] / report["lines"],
        "agreement_thumbs": report["agreement"].get("thumbs", math.nan),
        "agreement_votes": report["agreement"].get("votes", math.nan),
        "voice": voice,
        "on_both_sides": len(held_out & training),
    }


def limits_of(cfg: FeedbackConfig) -> dict[str, float]:
    """Return the limits above or below which `check` warns."""
    return {key: getattr(cfg, key) for key in LIMITS}
