"""Marks of turns in a tokenizer's own chat template, as ids.

transformers renders a whole conversation to text and then reads it, so a typed mark would be obeyed. Here the template is rendered once,
around stand-ins, in the sandbox that transformers uses; what it puts between them are the marks. A template whose marks depend on anything
but the role (tools, thoughts that are left out) gives none.

    ChatML     <|im_start|>user\n one <|im_end|>\n  <|im_start|>assistant\n two <|im_end|>\n     every turn ends alike
    Mistral    [INST] one [/INST] two </s>                                                   only the assistant's has an end
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Of a user, an assistant, a user, and a system prompt, in characters of private use, which nobody writes.
STAND_INS = ("\ue000one\ue001", "\ue000two\ue001", "\ue000three\ue001")
SYSTEM = "\ue000system\ue001"
FOLDED = "\n\n"  # between a system prompt and the user's text, where both are one turn
GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # where transformers notes what an assistant said
MAX_TEMPLATE = 200_000  # characters
MAX_RANGE = 1000  # of a loop that counts
# A template is a program from elsewhere: whatever it raises, it has no marks that can be told.
UNREADABLE = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    SyntaxError,
    MemoryError,
)
ROLES_REFUSED = "a role is user or assistant, and system for the first message"
FILE = "chat_template.jinja"  # where transformers looks for a template first
Ids = tuple[Any, ...]  # of tokens; in `joint_turns` characters


class TurnMarks(NamedTuple):
    begin: Ids  # of a conversation without a system prompt
    user: Ids  # before a user's text
    assistant: Ids  # before an assistant's text
    end: Ids  # after an assistant's text
    user_end: Ids  # after a user's text: `end`, or nothing where an assistant's opening says it
    system: tuple[Ids, Ids] | None = None  # before a system prompt, and between it and the first user's text
    folded: str = FOLDED  # without `system`: what joins a system prompt and the first user's text to one


def marks_in(
    template: str,
    names: dict[str, str],
    encode: Callable[[str], list[Any]],
    specials: Collection[Any] = (),
    may_join: bool = False,
) -> TurnMarks | None:
    """Return the marks of a template; None where they cannot be told.

    `names` are special tokens by role (bos_token, ...); `encode` recognises special tokens, and `specials` are what it makes
    of them. With `may_join` a reply may begin with a space that a prompt does not end with, as Llama 2's does: `joint_turns`.
    """
    rendered = _between_stand_ins(template, names, STAND_INS)
    if rendered is None:
        return None
    head, to_assistant, to_user, last = (tuple(encode(text)) for text in rendered)
    if last != to_assistant and not (may_join and rendered[1] == rendered[3] + " "):
        return None
    common = _common_length(to_assistant, to_user)
    if specials and not {*specials} & {*to_user[:common]}:
        common = 0  # a space or a line end that both begin with ends no turn
    ended = _between_stand_ins(template, names, STAND_INS[:2], asks=False)
    written = tuple(encode(ended[-1])) if ended else ()
    if written and written == to_user[: len(written)] and len(written) < common:
        common = len(written)  # the rest opens the next turn, whosever it is
    user_end, user, assistant = to_user[:common], to_user[common:], to_assistant[common:]
    end = user_end
    if (
        not end
    ):  # as Mistral's: the user's turn opens as the conversation does, and what is before that ends the assistant's
        opening_length = _common_length(head[::-1], to_user[::-1])
        end, user = to_user[: len(to_user) - opening_length], to_user[len(to_user) - opening_length :]
    begin_length = len(head) - len(user)
    if not end or not head or head[begin_length:] != user:
        return None
    marks = TurnMarks(head[:begin_length], user, assistant, end, user_end)
    return _with_system(marks, rendered[0], _between_stand_ins(template, names, (SYSTEM, *STAND_INS)), encode)


def generation_prompt(template: str, names: dict[str, str]) -> str | None:
    """Return what the template puts before a reply that is still to be written; None where it cannot be told."""
    rendered = _between_stand_ins(template, names, STAND_INS)
    return rendered[-1] if rendered else None


def _between_stand_ins(
    template: str, names: dict[str, str], texts: tuple[str, ...], asks: bool = True
) -> list[str] | None:
    """Return what the template puts before, between and after these texts of turns; None where it does not take them.

    Where it `asks` for a reply the last turn is a user's, else the assistant's.
    """
    roles: tuple[str, ...] = ("system", "user", "assistant", "user") if asks else ("user", "assistant")
    roles = roles[-len(texts) :]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    if len(template) > MAX_TEMPLATE:
        return None
    try:
        compiled = _environment().from_string(GENERATION.sub("", template))
        # As transformers calls it: a template may ask whether there are tools.
        rest = compiled.render(messages=messages, add_generation_prompt=asks, tools=None, documents=None, **names)
        rest.encode()
    except UNREADABLE:
        return None
    between = []
    for text in texts:
        before, separator, rest = rest.partition(text)
        if not separator:
            return None
        between.append(before)
    return [*between, rest]


def _with_system(
    marks: TurnMarks, head: str, rendered: list[str] | None, encode: Callable[[str], list[int]]
) -> TurnMarks:
    """Return the marks with those of a system prompt; one that the template leaves out or refuses is folded."""
    if rendered is None:
        return marks
    before, after, *_ = rendered
    if before == head:  # the prompt is the beginning of the user's text
        return marks._replace(folded=after)
    return marks._replace(system=(tuple(encode(before)), tuple(encode(after))))


def _common_length(first: Ids, second: Ids) -> int:
    """Return how many ids at the beginning are equal."""
    for length, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return length
    return min(len(first), len(second))


def template_with(marks: TurnMarks, decode: Callable[[Ids], str]) -> str:
    """Return a chat template that puts `marks` around turns; `decode` writes special tokens out.

    Without marks of its own, a system prompt becomes the beginning of the first user's text, as our own template does it.
    """
    # literals of Python, which are Jinja's too
    begin, user, assistant, end, user_end = (ascii(decode(ids)) for ids in marks[:5])
    opening = user
    if marks.system:
        before, after = (ascii(decode(ids)) for ids in marks.system)
        begin = f"({before} + system + {after} if system else {begin})"
        opening, system = f"('' if system and loop.first else {user})", "messages[0]['content']"
        text = "message['content']"
    else:
        system, text = (
            f"messages[0]['content'] + {marks.folded!a}",
            "(system if loop.first else '') + message['content']",
        )
    return (
        f"{fold(system)}{{{{ {begin} }}}}{{% for message in turns %}}"
        f"{{% if message['role'] == 'user' %}}{{{{ {opening} + {text} + {user_end} }}}}"
        f"{{% elif message['role'] == 'assistant' %}}{{{{ {assistant} + message['content'] + {end} }}}}"
        f"{{% else %}}{{{{ raise_exception('{ROLES_REFUSED}') }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {assistant} }}}}{{% endif %}}"
    )


def fold(system: str) -> str:
    """Return Jinja that takes a system prompt off the messages: `turns` are the others, `system` is this expression of it, or ''."""
    return (
        f"{{% if messages[0]['role'] == 'system' %}}{{% set turns = messages[1:] %}}{{% set system = {system} %}}"
        "{% if not turns or turns[0]['role'] != 'user' %}{{ raise_exception('a user speaks after the system prompt') }}{% endif %}"
        "{% else %}{% set turns = messages %}{% set system = '' %}{% endif %}"
    )


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["range"] = _short_range
    environment.filters["tojson"] = _as_json
    return environment


def _short_range(*numbers: int) -> range:
    counted = range(*numbers)
    if len(counted) > MAX_RANGE:
        raise TemplateError("a template counts further than turns go")
    return counted


def _as_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """Return JSON as transformers' own filter writes it, which escapes nothing."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
