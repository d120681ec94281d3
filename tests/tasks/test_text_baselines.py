"""Baselines of texts: lead-3 and BM25 by hand, and what is copied of a chat."""

import math

import pytest

from privllm.tasks.formats import Chat, Classified, InputOutput
from privllm.tasks.text_baselines import (
    BM25,
    COPIED,
    COPIED_INPUT,
    LEAD,
    asked_of,
    best_sentence,
    sentences_of,
    text_baselines,
)

STORY = "Ada was born. She wrote a program! Did it run? Nobody knows. It is famous."
QUESTION = InputOutput(f"Who wrote a program?\n\n{STORY}", "Ada", "Who wrote a program?")


def test_lead_3_by_hand() -> None:
    answers = text_baselines([InputOutput(STORY, "x"), InputOutput("One line", "y")])
    assert answers[LEAD] == ["Ada was born. She wrote a program! Did it run?", "One line"]
    assert answers[COPIED_INPUT] == [STORY, "One line"]
    assert set(answers) == {LEAD, COPIED_INPUT}


def test_of_three_sentences_there_is_no_lead() -> None:
    assert set(text_baselines([InputOutput("A. B. C.", "x")])) == {COPIED_INPUT}


def test_a_question_is_answered_from_its_context() -> None:
    answers = text_baselines([QUESTION])
    assert answers[BM25] == ["She wrote a program!"]
    assert answers[LEAD] == ["Ada was born. She wrote a program! Did it run?"]
    assert answers[COPIED_INPUT] == [QUESTION.input]
    assert BM25 not in text_baselines([QUESTION, InputOutput(STORY, "x")])


def test_a_chat_copies_its_last_question() -> None:
    turns = (
        ("system", "Be kind."),
        ("user", "Hi"),
        ("assistant", "Hello."),
        ("user", "Bye"),
        ("assistant", "So long."),
    )
    assert asked_of(Chat(turns)) == "Bye"
    with pytest.raises(AssertionError):
        asked_of(Classified("a", "b"))


def test_bm25_by_hand() -> None:
    """Two sentences of two words: rarity is ln(1 + 1.5 / 1.5) of a word in one of them, and ln(1 + 0.5 / 2.5) of one in both."""
    sentences = ["cat sat", "dog sat"]
    assert best_sentence("sat dog", sentences) == "dog sat"
    assert math.log(2) > math.log(1.2)
    assert best_sentence("sat", sentences) == best_sentence("bird", sentences) == "cat sat"  # equal: the first
    assert best_sentence("DOG!", sentences) == "dog sat"
    assert best_sentence("?", ["..."]) == "..."
    assert best_sentence("dog", []) == ""
    # the same word in a shorter sentence counts more
    assert best_sentence("dog", ["a dog ran over a hill", "a dog ran"]) == "a dog ran"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("One 3.5 two.\nthree", ["One 3.5 two.", "three"]),
        ("a title\n\nA text.", ["a title", "A text."]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("", []),
        ("  \n", []),
    ],
)
def test_sentences(text: str, sentences: list) -> None:
    assert sentences_of(text) == sentences


def test_long_inputs_are_copied_in_part() -> None:
    (copied,) = text_baselines([InputOutput("x" * (COPIED + 1), "y")])[COPIED_INPUT]
    assert len(copied) == COPIED
