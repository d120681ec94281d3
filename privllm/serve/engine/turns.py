"""Where a conversation may begin once its oldest turns are left out: at a question, after what it opens with."""

from collections.abc import Sequence

from privllm.feedback.records import Message


def starts_of(messages: Sequence[Message]) -> list[int]:
    """Return where a conversation may begin: where it does, and at each later question."""
    opening = opening_of(messages)
    return [0, *(i for i in range(opening + 1, len(messages)) if messages[i].role == "user")]


def messages_from(messages: tuple[Message, ...], start: int) -> tuple[Message, ...]:
    """Return the messages from `start` on, and the system's that the conversation opens with."""
    return messages if start == 0 else messages[: opening_of(messages)] + messages[start:]


def without_oldest(messages: tuple[Message, ...], left_out: int) -> tuple[Message, ...]:
    """Return the messages that remain once `left_out` have left: `messages_from`, by their number."""
    opening = opening_of(messages)
    return messages[:opening] + messages[opening + left_out :]


def opening_of(messages: Sequence[Message]) -> int:
    """Return the number of system messages that a conversation opens with: they are never left out."""
    for index, message in enumerate(messages):
        if message.role != "system":
            return index
    return len(messages)
