"""feedback: what people said becomes corrections to learn from, preferences to align with, and a part that is kept back to judge by.

    sft.jsonl          prompt, reply (the correction), instead_of, weight     a rating with a correction
    preferences.jsonl  prompt, chosen, rejected, weight, votes           all votes on two replies to one prompt, added up
    thumbs.jsonl       prompt, reply, thumb, weight                      a rating without one
    held_out.jsonl     ratings and votes of the prompts kept back, one by one
    raters.jsonl       `raters.Rater`, by pseudonym                      quarantine.jsonl   source, digest, bytes, reason, detail

A conversation's first question decides its side, so all that was said of a prompt, and every later turn, lies on one. `weight` in [0, 1] is
how much a row should count. A pseudonym is a plain hash: it keeps names out of what is shared, and whoever guesses a name can check it.
No model is trained here, and quarantine repeats no text.
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
from privllm.feedback.raters import Rater, RaterConfig, agreement, limit, thing_of, value_of, weigh
from privllm.feedback.reading import RefusedLine, files_of, read_files
from privllm.feedback.records import Message, Vote
from privllm.feedback.screening import CleanText, CountPersonalData, ScreenedRecord, screen, texts_of
from privllm.feedback.topics import weak_topics

Row = dict[str, Any]
# Rows (`table_of`), one row of totals, limits of the warnings -> what goes into the report. Raises UserError to stop the build.
Check = Callable[[list[Row], Row, Mapping[str, float]], Row]
REMEMBERED = 64  # texts, each at most a line long
DECIDED = 1e-4  # a weight below this is written as 0


@dataclass
class FeedbackConfig:
    max_kilobytes: int = 1_024  # a longer line is quarantined unread, [1, 1_000_000]
    held_out: float = 0.1  # share of prompts kept back, by a hash of the conversation's first question, [0, 1]
    max_quarantined: float = 0.2  # share of lines above which the report warns, [0, 1]
    min_agreement: float = 0.2  # Krippendorff's alpha of thumbs, and of votes, below which it warns, [-1, 1]
    max_voice: float = 0.5  # share of all weight that one person may have before it warns, (0, 1]
    raters: RaterConfig = field(default_factory=RaterConfig)

    def __post_init__(self) -> None:
        require(1 <= self.max_kilobytes <= 1_000_000, "feedback.max_kilobytes", "between 1 and 1,000,000")
        require(0 <= self.held_out <= 1, "feedback.held_out", "a share between 0 and 1")
        require(0 <= self.max_quarantined <= 1, "feedback.max_quarantined", "a share between 0 and 1")
        require(-1 <= self.min_agreement <= 1, "feedback.min_agreement", "between -1 and 1")
        require(0 < self.max_voice <= 1, "feedback.max_voice", "a share above 0, at most 1")


def feedback(cfg: FeedbackConfig, source: Path, out: Path, tidy: CleanText, left_over: CountPersonalData, check: Check) -> dict[str, Any]:
    """Write the six files above from every `*.jsonl` in `source`; returns the report. See `screening` for
    `tidy` and `left_over`."""
    tidy, left_over = lru_cache(REMEMBERED)(tidy), lru_cache(REMEMBERED)(left_over)  # a flood says one thing many times
    passed: list[ScreenedRecord] = []
    refused: list[RefusedLine] = []
    for found in read_files(source, cfg.max_kilobytes << 10):
        result = screen(found, tidy, left_over) if not isinstance(found, RefusedLine) else found
        (refused if isinstance(result, RefusedLine) else passed).append(result)  # type: ignore[arg-type]
    kept, limited = limit(cfg.raters, passed)
    raters = weigh(cfg.raters, passed, kept)
    refused += limited
    lines = len(kept) + len(refused)
    files, uses = rows_of(cfg, kept, raters)
    balance(lines, len(refused), *uses.values())
    files |= {"raters": [asdict(rater) for rater in raters.values()], "quarantine": quarantine_of(refused)}
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        write_json_lines(out / f"{name}.jsonl", rows)
    report: dict[str, Any] = {
        **uses,
        **{"files": len(files_of(source)), "lines": lines, "kept": len(kept), "preferences": len(files["preferences"])},
        "quarantined": dict(sorted(Counter(one.reason for one in refused).items())),
        "raters": len(raters),
        "named": {rater.rater: ", ".join(rater.named) for rater in raters.values() if rater.named},
        "agreement": {name: value for name, value in agreement(kept).items() if value is not None},
        "placeholders": add_up(one.placeholders for one in kept),
        "weak_spots": weak_topics(kept, raters),
    }
    if not kept:
        say(f"{source} holds no feedback that can be used{'' if lines else ' yet'}: the files in {out} are empty but for the quarantine.")
    checked = check(table_of(cfg, kept, raters), totals_of(cfg, report, kept, raters), limits_of(cfg)) if kept else {"expectations": 0}
    return report | checked


def held_out(cfg: FeedbackConfig, one: ScreenedRecord) -> bool:
    return unit_interval("feedback", one.opening) < cfg.held_out


def rows_of(
    cfg: FeedbackConfig, kept: Sequence[ScreenedRecord], raters: Mapping[str, Rater]
) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """({file: rows}, how many records each use got). Every record has one use."""
    files: dict[str, list[Row]] = {"sft": [], "preferences": [], "thumbs": [], "held_out": []}
    votes: list[ScreenedRecord] = []
    for one in kept:
        record = one.record
        row = {"id": one.key, "rater": one.rater, "weight": raters[one.rater].weight, "prompt": prompt_of(record.messages)}
        if held_out(cfg, one):
            files["held_out"].append(row | own_fields(one))
        elif isinstance(record, Vote):
            votes.append(one)
        elif record.correction:
            files["sft"].append(row | {"reply": record.correction, "instead_of": record.reply})
        else:
            files["thumbs"].append(row | {"reply": record.reply, "thumb": record.thumb})
    files["preferences"], voted = preferences(votes, raters)
    uses = {name: len(files[name]) for name in ("sft", "thumbs", "held_out")}
    return files, uses | {"preference_votes": voted, "undecided": len(votes) - voted}


def preferences(votes: Iterable[ScreenedRecord], raters: Mapping[str, Rater]) -> tuple[list[Row], int]:
    """(rows by id, votes in them): of each two replies to one prompt the one with more weight behind it, by how much, at most 1.

    Ties and "both bad" prefer nothing; nor does a pair on which people cancel each other out.
    """
    groups: defaultdict[tuple[str, ...], list[ScreenedRecord]] = defaultdict(list)
    for one in votes:
        if value_of(one) in ("first", "second"):
            groups[thing_of(one)].append(one)
    rows, voted = [], 0
    for thing, group in groups.items():
        lead = math.fsum(raters[one.rater].weight * (1 if value_of(one) == "first" else -1) for one in group)
        if abs(lead) < DECIDED:
            continue
        *_, first, second = thing
        chosen, rejected = (first, second) if lead > 0 else (second, first)
        key = name_digest("preference", *thing)
        row = {"id": key, "prompt": prompt_of(group[0].record.messages), "chosen": chosen, "rejected": rejected}
        rows.append(row | {"weight": round(min(1.0, abs(lead)), 4), "votes": len(group)})
        voted += len(group)
    return sorted(rows, key=lambda row: row["id"]), voted


def prompt_of(messages: Iterable[Message]) -> list[Row]:
    return [asdict(message) for message in messages]


def own_fields(one: ScreenedRecord) -> Row:
    record = one.record
    if isinstance(record, Vote):
        sides = {"left": record.left.text, "right": record.right.text, "choice": record.choice}
        return {"kind": "vote", **sides, "left_model": record.left.model.digest, "right_model": record.right.model.digest}
    said = {"reply": record.reply, "thumb": record.thumb, "correction": record.correction}
    return {"kind": "rating", **said, "model": record.model.digest}


def quarantine_of(refused: Iterable[RefusedLine]) -> list[Row]:
    rows = [{**one.line._asdict(), "reason": one.reason, "detail": one.detail} for one in refused]
    return sorted(rows, key=lambda row: (row["source"].rpartition("#")[0], int(row["source"].rpartition("#")[2])))


def table_of(cfg: FeedbackConfig, kept: Iterable[ScreenedRecord], raters: Mapping[str, Rater]) -> list[Row]:
    """One row per kept record for `check`; `text` is all that it says."""
    return [
        {
            **{"id": one.key, "source": one.line.source, "kind": type(one.record).__name__, "rater": one.rater, "opening": one.opening},
            **{"side": "held out" if held_out(cfg, one) else "training", "weight": raters[one.rater].weight},
            "text": "\n".join(texts_of(one.record)),
        }
        for one in kept
    ]


def totals_of(cfg: FeedbackConfig, report: Mapping[str, Any], kept: Sequence[ScreenedRecord], raters: Mapping[str, Rater]) -> Row:
    voices = [rater.weight * rater.kept for rater in raters.values()]
    sides = [{one.opening for one in kept if held_out(cfg, one) is side} for side in (True, False)]
    return {
        **{"lines": report["lines"], "accounted": report["kept"] + sum(report["quarantined"].values())},
        "quarantined": 1 - report["kept"] / report["lines"],
        **{f"agreement_{kind}": report["agreement"].get(kind, math.nan) for kind in ("thumbs", "votes")},
        "voice": max(voices) / total if (total := math.fsum(voices)) and len(voices) > 1 else math.nan,
        "on_both_sides": len(sides[0] & sides[1]),
    }


def limits_of(cfg: FeedbackConfig) -> dict[str, float]:
    return {key: getattr(cfg, key) for key in ("max_quarantined", "min_agreement", "max_voice")}
