import random
from pathlib import Path

import numpy as np
import pytest

from privllm.serve.engine.detokenizer import Detokenizer
from privllm.tokens.encode import Encoder


def say(text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    """Letter by letter, as if every letter were a token."""
    detokenizer = Detokenizer(lambda ids: "".join(map(chr, ids)), stop)
    pieces = []
    for letter in text:
        pieces.append(detokenizer.add(ord(letter)))
        if detokenizer.stopped:
            break
    return [*pieces, detokenizer.flush()], detokenizer.stopped


def test_characters_come_whole(built: Path) -> None:
    encoder = Encoder.open(built / "tokenizer")
    detokenizer, text = Detokenizer(lambda ids: encoder.decode(np.array(ids))), "naïve 数据 🙂🙃 end"
    pieces = [detokenizer.add(token) for token in encoder.encode([text])[0].tolist()]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    detokenizer.add(encoder.encode(["🙂"])[0].tolist()[0])
    assert detokenizer.flush().strip("\ufffd") == ""


def test_a_space_that_a_tokenizer_writes_only_between_words() -> None:
    words = ["", "the", "row"]
    detokenizer = Detokenizer(lambda ids: " ".join(words[i] for i in ids))
    assert [detokenizer.add(1), detokenizer.add(2), detokenizer.add(1), detokenizer.flush()] == [
        "the",
        " row",
        " the",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "stop", "expected", "stopped"),
    [
        ("one\ntwo", ("\n",), "one", True),
        ("aab aaab!", ("aaab",), "aab ", True),
        ("aaa", ("aaab",), "aaa", False),
        ("abcabd.", ("abd", "cab"), "ab", True),
        ("abc", (), "abc", False),
        ("a\x1bb", (), "ab", False),
    ],
)
def test_stop_texts(text: str, stop: tuple[str, ...], expected: str, stopped: bool) -> None:
    pieces, stopped_early = say(text, stop)
    assert ("".join(pieces), stopped_early) == (expected, stopped)


def test_what_was_said_before_a_stop_is_the_beginning_of_the_whole() -> None:
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices("ab", k=20))
        stop = tuple("".join(rng.choices("ab", k=rng.randint(1, 5))) for _ in range(2))
        pieces, stopped_early = say(text, stop)
        ends = [text.find(s) + len(s) for s in stop if s in text]
        first = min(ends, default=None)
        want = text if first is None else text[: min(text.find(s) for s in stop if s in text[:first])]
        assert ("".join(pieces), stopped_early) == (want, first is not None)
