"""Marks of turns in a tokenizer's own chat template, as ids.

transformers renders a whole conversation to text and then reads it, so a typed mark would be obeyed. Here the template is rendered once,
around stand-ins, in the sandbox that transformers uses; what it puts between them are the marks. A template whose marks depend on anything
but the role (dates, tools, thoughts that are left out) gives none.
"""

from collections.abc import Callable
from typing import NamedTuple, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Of a user, an assistant, a user, in characters of private use, which nobody writes.
STAND_INS = ("\ue000one\ue001", "\ue000two\ue001", "\ue000three\ue001")
FILE = "chat_template.jinja"  # where transformers looks for a template first
Ids = tuple[int, ...]


class TurnMarks(NamedTuple):
    begin: Ids
    user: Ids
    assistant: Ids
    end: Ids


def marks_in(template: str, names: dict[str, str], encode: Callable[[str], list[int]]) -> TurnMarks | None:
    """Return the marks of a template; None where they cannot be told.

    `names` are special tokens by role (bos_token, ...); `encode` recognises special tokens.
    """
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": text} for role, text in zip(roles, STAND_INS, strict=True)]
    try:
        compiled = _environment().from_string(template)
        rendered = compiled.render(messages=messages, add_generation_prompt=True, **names)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
        return None
    between = []  # ids before each stand-in
    for stand_in in STAND_INS:
        before, separator, rendered = rendered.partition(stand_in)
        if not separator:
            return None
        between.append(tuple(encode(before)))
    head, to_assistant, to_user = between
    if tuple(encode(rendered)) != to_assistant:
        return None
    common = _common_length(to_assistant, to_user)
    end = to_user[:common]
    user, assistant = to_user[common:], to_assistant[common:]
    begin_length = len(head) - len(user)
    if not end or not head or head[begin_length:] != user:
        return None
    return TurnMarks(head[:begin_length], user, assistant, end)


def _common_length(first: Ids, second: Ids) -> int:
    """Return how many ids at the beginning are equal."""
    for length, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return length
    return min(len(first), len(second))


def template_with(marks: TurnMarks, decode: Callable[[Ids], str]) -> str:
    """Return a chat template that puts `marks` around turns; `decode` writes special tokens out.

    It refuses other roles, as our own does.
    """
    begin, user, assistant, end = (ascii(decode(ids)) for ids in marks)  # literals of Python, which are Jinja's too
    return (
        f"{{{{ {begin} }}}}{{% for message in messages %}}"
        f"{{% if message['role'] == 'user' %}}{{{{ {user} }}}}{{% elif message['role'] == 'assistant' %}}{{{{ {assistant} }}}}"
        "{% else %}{{ raise_exception('a role is user or assistant') }}{% endif %}"
        f"{{{{ message['content'] + {end} }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {assistant} }}}}{{% endif %}}"
    )


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    return environment


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
