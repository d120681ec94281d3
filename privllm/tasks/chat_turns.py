"""Messages of a conversation, as OpenAI or ShareGPT write them, to turns that can be learnt.

    {"role": "user", "content": "..."}, or with "from" and "value"; a content may be a list of {"type": "text", "text": "..."}

A turn is (system, user or assistant; text). The system's is the first, where there is one; user and assistant alternate after it, and the
assistant ends. What does not fit that is changed, and each change is counted:

    tool_turns   calls of tools, and what tools answered: left out
    openings     what the assistant says before anybody has asked: left out, since a reply is learnt, and this one replies to nothing
    joined       messages of one person in a row: made one turn, with an empty line between them
    unanswered   questions at the end that nobody answers: left out
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from privllm.tasks.line_faults import InvalidLine, short, text_of

Turn = tuple[str, str]  # system, user or assistant; what was said
SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
NAMES = {  # whose turn it is, by the names that people write
    SYSTEM: ("system", "developer"),
    USER: ("user", "human", "prompter"),
    ASSISTANT: ("assistant", "gpt", "bot", "model", "chatgpt", "bard", "bing"),
    TOOL: ("tool", "function", "observation", "tool_call", "function_call", "tool_response", "function_response"),
}
ROLES = {name: role for role, names in NAMES.items() for name in names}
KEYS = (("role", "content"), ("from", "value"))
CALLS = ("tool_calls", "function_call")
EMPTY_LINE = "\n\n"


def turns_of(messages: Any) -> tuple[tuple[Turn, ...], Counter[str]]:
    """Return the turns, and how often what was changed. Raises InvalidLine where nothing remains to be learnt."""
    if not isinstance(messages, list) or not messages:
        raise InvalidLine("its messages must be a list that is not empty", "wrong_type")
    changes: Counter[str] = Counter()
    turns: list[Turn] = []
    for place, message in enumerate(messages, 1):
        role, text = _turn(message, place)
        if role == TOOL:
            changes["tool_turns"] += 1
        elif turns and role == SYSTEM and turns[-1][0] != SYSTEM:
            raise InvalidLine(f"message {place} is the system's, but stands within the conversation", "system_within")
        else:
            turns.append((role, text))
    system = [turn for turn in turns if turn[0] == SYSTEM]
    spoken = turns[len(system) :]
    while spoken and spoken[0][0] == ASSISTANT:
        spoken = spoken[1:]
        changes["openings"] += 1
    while spoken and spoken[-1][0] == USER:
        spoken = spoken[:-1]
        changes["unanswered"] += 1
    if not spoken:
        raise InvalidLine("it has no question with the assistant's reply after it", "no_reply")
    joined = _joined([*_with_words(system), *spoken])
    changes["joined"] += len(_with_words(system)) + len(spoken) - len(joined)
    return tuple(joined), +changes


def role_of(message: Any) -> str | None:
    """Return whose a message is; None where nobody can tell."""
    keys = _keys_of(message)
    name = message[keys[0]] if keys else None
    return ROLES.get(name) if isinstance(name, str) else None


def _keys_of(message: Any) -> tuple[str, str] | None:
    """Return the names of a message's two parts; a table may have both pairs, one of them empty."""
    for pair in KEYS:
        if isinstance(message, dict) and message.get(pair[0]) is not None:
            return pair
    return None


def _turn(message: Any, place: int) -> Turn:
    keys = _keys_of(message)
    if keys is None:
        raise InvalidLine(f'message {place} must be an object with "role" and "content"', "wrong_type")
    role_key, text_key = keys
    role = role_of(message)
    if role is None:
        raise InvalidLine(
            f"message {place} is by {short(repr(message[role_key]))}, who is none of {', '.join(ROLES)}", "unknown_role"
        )
    content = message.get(text_key)
    if role == TOOL or (not content and any(message.get(key) for key in CALLS)):
        return TOOL, ""
    text = _text(content, place)
    if role == SYSTEM and not text.strip():
        return role, ""  # as ShareGPT writes that there is none
    return role, text_of(text, f"message {place}")


def _text(content: Any, place: int) -> str:
    """Return a message's content as one text; parts of it stand on lines of their own."""
    if not isinstance(content, list):
        return content if content is not None else ""
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise InvalidLine(f"message {place} holds a part that is no text ({short(repr(kind))})", "not_text")
        texts.append(part["text"])
    return "\n".join(texts)


def _with_words(turns: Sequence[Turn]) -> list[Turn]:
    return [turn for turn in turns if turn[1]]


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns with those of one role in a row made one."""
    joined: list[Turn] = []
    for role, text in turns:
        if joined and joined[-1][0] == role:
            joined[-1] = (role, joined[-1][1] + EMPTY_LINE + text)
        else:
            joined.append((role, text))
    return joined
