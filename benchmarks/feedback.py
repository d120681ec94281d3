"""The stage `feedback` on what people really said: `python -m benchmarks.feedback FOLDER`.

FOLDER holds squality-human-ratings.jsonl (github.com/nyu-mll/SQuALITY, CC-BY-4.0: ratings of summaries by worker) and
hh-rlhf-harmless.jsonl (github.com/anthropics/hh-rlhf, MIT: pairs by people who are not told apart). They are brought into the form that
`privllm feedback export` writes: a worker's overall rating of a summary is a thumb (up from 50 of 100) and two of them are a vote.
Then it is done again with one more person who votes at random on the same summaries, and one who says one thing 10,000 times.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from benchmarks.common import write_result
from privllm.clean.clean_text import clean_text
from privllm.core.seed import name_digest
from privllm.feedback.recipe import FeedbackConfig, feedback
from privllm.feedback.records import Choice, Decoding, Message, Model, ModelReply, Rating, Vote, to_line
from privllm.validate.feedback_suite import judge_feedback
from privllm.validate.personal_data_left import leftovers

RATINGS, PAIRS = "squality-human-ratings.jsonl", "hh-rlhf-harmless.jsonl"
TIME, DECODING = "2022-01-01T00:00:00Z", Decoding(1.0, 1.0, 1000, 0)


def squality(path: Path) -> Iterator[Rating | Vote]:
    for line in path.read_text("utf-8").splitlines():
        passage = json.loads(line)
        for number, systems in passage["questions"].items():
            asked = (Message("user", f"Summarise story {passage['passage-id']}, question {number}."),)
            by_worker: dict[str, list[tuple[str, str, float]]] = {}
            for system, judged in systems.items():
                for review in judged["reviews"]:
                    rated = float(review["overall-rating"])
                    by_worker.setdefault(review["worker_id"], []).append((system, judged["response"], rated))
                    why = "; ".join(part for note in review["annotations"] for part in note["annotation"])
                    key, thumb = (
                        name_digest(passage["passage-id"], number, system, review["worker_id"]),
                        "up" if rated >= 50 else "down",
                    )
                    model = Model(system, "", system)
                    yield Rating(
                        key, 1, review["worker_id"], TIME, model, asked, judged["response"], DECODING, thumb, "", why
                    )
            for worker, seen in by_worker.items():
                for left, right in combinations(seen, 2):
                    yield vote_of(worker, asked, left[0], left[1], right[0], right[1], compared(left[2] - right[2]))


def harmless(path: Path) -> Iterator[Vote]:
    for line in path.read_text("utf-8").splitlines():
        pair = json.loads(line)
        chosen, rejected = (turns(pair[key]) for key in ("chosen", "rejected"))
        if chosen[:-1] == rejected[:-1] and chosen[-1].role == rejected[-1].role == "assistant":
            yield vote_of("people of hh-rlhf", chosen[:-1], "", chosen[-1].content, "", rejected[-1].content, "left")


def turns(dialogue: str) -> tuple[Message, ...]:
    said = []
    for part in dialogue.split("\n\nHuman:")[1:]:
        human, *replies = part.split("\n\nAssistant:")
        said.append(Message("user", human.strip()))
        said += [Message("assistant", reply.strip()) for reply in replies]
    return tuple(said)


def compared(lead: float) -> Choice:
    return "left" if lead > 0 else "right" if lead < 0 else "tie"


def vote_of(
    rater: str, asked: tuple[Message, ...], one: str, left: str, other: str, right: str, choice: Choice
) -> Vote:
    key = name_digest(rater, *(message.content for message in asked), one, left, other, right)
    sides = ModelReply(Model(one, "", one), left), ModelReply(Model(other, "", other), right)
    return Vote(key, rater, TIME, asked, *sides, DECODING, choice, "")


def attacks(said: list[Rating | Vote]) -> Iterator[Rating | Vote]:
    rng, seen = random.Random(0), set()
    for one in said:
        if (
            isinstance(one, Vote)
            and one.rater != "people of hh-rlhf"
            and (pair := (one.messages, one.left, one.right)) not in seen
        ):
            seen.add(pair)
            yield vote_of("random", one.messages, "", one.left.text, "", one.right.text, rng.choice(["left", "right"]))
    flood = next(one for one in said if isinstance(one, Vote))
    for number in range(10_000):
        yield Vote(f"flood {number}", "flood", TIME, flood.messages, flood.left, flood.right, DECODING, "left", "")


def measure(said: list[Rating | Vote]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        (source / "said.jsonl").write_text("".join(to_line(one) + "\n" for one in said), "utf-8")
        start = time.perf_counter()
        report = feedback(FeedbackConfig(), source, out, clean_text, leftovers, judge_feedback)
        seconds = time.perf_counter() - start
        people = {name_digest("rater", one.rater)[:16]: one.rater for one in said}
        rows = [json.loads(line) for line in (out / "raters.jsonl").read_text("utf-8").splitlines()]
        return {
            "seconds": round(seconds, 2),
            "report": report,
            "people": [row | {"who": people[row["rater"]]} for row in rows],
        }


def show(name: str, result: dict) -> None:
    report = result["report"]
    counts = ("lines", "kept", "thumbs", "preferences", "preference_votes", "undecided", "held_out")
    print(f"{name}: {', '.join(f'{key} {report[key]:,}' for key in counts)}; {result['seconds']} s")
    print(f"  quarantined {report['quarantined']}; placeholders {report['placeholders']}; alpha {report['agreement']}")
    print(f"  {report['expectations']} expectations; warnings: {report['warnings_of']}")
    for row in sorted(result["people"], key=lambda row: -row["weight"]):
        figures = f"said {row['said']:>6,}  kept {row['kept']:>5,}  shared {row['shared']:>4}  reliability {row['reliability']:.2f}"
        print(f"  {row['who']:<20} {figures}  weight {row['weight']:.3f}  {', '.join(row['named'])}")


def main(folder: Path | None = None) -> None:
    if folder is None or not all((folder / name).is_file() for name in (RATINGS, PAIRS)):
        print(
            f"feedback: skipped, for it needs a folder with {RATINGS} and {PAIRS}: python -m benchmarks.feedback FOLDER"
        )
        return
    said = [*squality(folder / RATINGS), *harmless(folder / PAIRS)]
    results = {"people": measure(said), "people and two attackers": measure([*said, *attacks(said)])}
    for name, result in results.items():
        show(name, result)
    write_result("feedback", results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    main(parser.parse_args().folder)
