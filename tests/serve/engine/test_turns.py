from privllm.feedback.records import Message
from privllm.serve.engine.turns import messages_from, starts_of

S, U, A = (Message(role, "x") for role in ("system", "user", "assistant"))  # type: ignore[arg-type]


def test_a_conversation_may_begin_at_each_question() -> None:
    for messages, starts in (
        ((U,), [0]),
        ((U, A, U), [0, 2]),
        ((A, U, U), [0, 1, 2]),
        ((S, U, A, U), [0, 3]),
        ((S, S, U), [0]),
        ((S,), [0]),
    ):
        assert starts_of(messages) == starts


def test_what_it_opens_with_stays() -> None:
    assert messages_from((S, S, U, A, U), 4) == (S, S, U)
    assert messages_from((S, U, A, U), 0) == (S, U, A, U)
    assert messages_from((U, A, S, U), 3) == (U,)
