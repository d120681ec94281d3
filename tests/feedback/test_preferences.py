"""What the feedback stage writes, read back: every row is something, and what is held back is never learnt."""

import json
from pathlib import Path

import pytest

from privllm.feedback.preferences import FeedbackExample, count_raters, encode_examples, read_held_out, read_training
from privllm.feedback.recipe import FeedbackConfig
from tests.feedback.said import lines_of, put, rating, run, vote


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    said = [
        vote(who, f"What is {i}?", "left" if i % 3 else "tie", left=f"It is {i}.") for who in "ab" for i in range(30)
    ]
    said += [rating("a", f"And {i}?", "down", f"Rather {i}." if i % 2 else "") for i in range(30)]
    put(tmp_path / "in/said.jsonl", *said)
    run(tmp_path / "in", tmp_path / "out", FeedbackConfig(held_out=0.4))
    (tmp_path / "out/chat.jsonl").touch()  # which the stage writes
    return tmp_path / "out"


def test_all_rows_come_back(clean: Path) -> None:
    rows = {name: lines_of(clean / f"{name}.jsonl") for name in ("sft", "preferences", "held_out")}
    training, held = read_training(clean), read_held_out(clean)
    assert [one.id for one in training.corrections] == [row["id"] for row in rows["sft"]]
    voted = [(row["id"], row["chosen"], row["rejected"], row["weight"]) for row in rows["preferences"]]
    edited = [(row["id"], row["reply"], row["instead_of"], row["weight"]) for row in rows["sft"]]
    assert [(one.id, *one.replies, one.weight) for one in training.preferences] == voted + edited
    assert edited
    corrected = [one.id for one in held.corrections]
    votes = [one for one in held.preferences if one.id not in corrected]
    assert len(corrected) + len(votes) + held.other == len(rows["held_out"])
    assert [one.id for one in held.preferences if one.id in corrected] == corrected
    assert votes
    assert held.other
    assert all(one.replies == (f"It is {one.turns[0][1][8:-1]}.", "two") for one in votes)
    assert count_raters(clean) == 2


def test_no_conversation_is_on_both_sides(clean: Path) -> None:
    training, held = read_training(clean), read_held_out(clean)
    sides = [{one.opening for part in side[:2] for one in part} for side in (training, held)]
    assert not sides[0] & sides[1]


def test_the_opening_is_the_first_question_however_it_is_written(tmp_path: Path) -> None:
    from privllm.feedback.preferences import _example

    prompts = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "x"}]
        for text in ("What  is it?", "what is it?\n", "No")
    ]
    a, b, c = (_example({"id": "1", "prompt": prompt, "weight": 1}, "y").opening for prompt in prompts)
    assert a == b != c


def test_what_is_not_taught_has_a_reason_and_all_add_up() -> None:
    lessons = [
        FeedbackExample(str(i), "o", (("user", "q"),), (text,), weight)
        for i, (text, weight) in enumerate([("a", 1), ("b", 0), ("", 1), ("c", 0.5)])
    ]
    found = encode_examples(
        lessons, lambda lesson: lesson.replies[0].upper() or "empty" if not lesson.replies[0] else [lesson.replies[0]]
    )
    assert [(lesson.id, ids) for lesson, ids in found.kept] == [("0", ["a"]), ("3", ["c"])]
    assert found.dropped == {"empty": 1, "weightless": 1}
    assert found.rows == 4


def written(folder: Path, **files: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("sft", "chat", "preferences", "held_out", "raters"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in files.get(name, [])), "utf-8")
    return folder


PROMPT = {"id": "1", "weight": 0.5, "prompt": [{"role": "user", "content": "q"}]}


@pytest.mark.parametrize(("weight", "kept"), [(0.0, 0), (0.0001, 1), (1.0, 1)])
def test_any_weight_above_nothing_teaches(weight: float, kept: int) -> None:
    found = encode_examples([FeedbackExample("1", "o", (), ("a",), weight)], lambda lesson: [1])
    assert (len(found.kept), found.dropped) == (kept, {} if kept else {"weightless": 1})


@pytest.mark.parametrize(
    ("choice", "replies"), [("left", ("l", "r")), ("right", ("r", "l")), ("tie", None), ("both_bad", None)]
)
def test_what_a_held_out_vote_prefers(tmp_path: Path, choice: str, replies: tuple[str, str] | None) -> None:
    held = read_held_out(
        written(tmp_path / "a", held_out=[PROMPT | {"kind": "vote", "choice": choice, "left": "l", "right": "r"}])
    )
    assert [one.replies for one in held.preferences] == ([replies] if replies else [])
    assert (held.corrections, held.other) == ([], 0 if replies else 1)


@pytest.mark.parametrize("reply", ["", " \n", "said"])
def test_a_correction_of_nothing_prefers_nothing(tmp_path: Path, reply: str) -> None:
    rated = {"kind": "rating", "thumb": "down", "reply": reply, "correction": "better"}
    held = read_held_out(
        written(tmp_path / "a", held_out=[PROMPT | rated, PROMPT | rated | {"id": "2", "correction": ""}])
    )
    learnt = read_training(written(tmp_path / "b", sft=[PROMPT | {"reply": "better", "instead_of": reply}]))
    for side in (held, learnt):
        assert [one.replies for one in side.corrections] == [("better",)]
        assert [one.replies for one in side.preferences] == ([("better", "said")] if reply == "said" else [])
    assert (held.other, learnt.other) == (1, 0)


def test_people_count_whose_words_were_kept_and_weigh_something(tmp_path: Path) -> None:
    rows = [{"kept": kept, "weight": weight} for kept, weight in ((1, 0.1), (0, 0.5), (3, 0.0), (0, 0.0), (2, 1.0))]
    assert count_raters(written(tmp_path / "a", raters=rows)) == 2
