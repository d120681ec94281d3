"""Votes and ratings for the tests of this room."""

from privllm.feedback.records import Choice, Decoding, Message, Model, ModelReply, Rating, Vote

A, B, C = (Model(name, name * 40, name * 32) for name in "abc")
DECODING = Decoding(0.8, 0.95, 200, 7)


def vote(identifier: str, choice: Choice, left: Model = A, right: Model = B) -> Vote:
    said = Message("user", "naïve 🙂\u2028?")
    return Vote(
        identifier,
        "eva",
        "2026-11-23T10:00:00Z",
        (said,),
        ModelReply(left, "l"),
        ModelReply(right, "r"),
        DECODING,
        choice,
        "",
    )


def rating(identifier: str, edition: int = 1, correction: str = "") -> Rating:
    said = (Message("user", "hi"), Message("assistant", "ho"), Message("user", "and?"))
    return Rating(
        identifier, edition, "eva", "2026-11-23T10:00:00Z", A, said, "no", DECODING, "down", correction, "wrong"
    )
