"""Marks read off a chat template, with words for tokens."""

import pytest

from privllm.tokens.chat_template import TurnMarks, marks_in
from privllm.tokens.vocabulary import CHAT_TEMPLATE

WORDS: dict[str, int] = {}


def encode(text: str) -> list[int]:
    """A number for each thing between blanks and angle brackets."""
    parts = text.replace("<", " <").replace(">", "> ").split()
    return [WORDS.setdefault(part, len(WORDS)) for part in parts]


def ids(text: str) -> tuple[int, ...]:
    return tuple(encode(text))


def test_our_own_template() -> None:
    turn_marks = marks_in(CHAT_TEMPLATE, {"bos_token": "<s>"}, encode)
    assert turn_marks == TurnMarks(ids("<s>"), ids("<|user|>"), ids("<|assistant|>"), ids("<|end|>"))


def test_a_system_prompt_by_default_belongs_to_the_beginning() -> None:
    template = (
        "{% if messages[0].role != 'system' %}<turn>system good</turn>{% endif %}"
        "{% for m in messages %}<turn>{{ m.role }} {{ m.content }}</turn>{% endfor %}"
        "{% if add_generation_prompt %}<turn>assistant {% endif %}"
    )
    turn_marks = marks_in(template, {}, encode)
    assert turn_marks == TurnMarks(
        ids("<turn>system good</turn><turn>"), ids("user"), ids("assistant"), ids("</turn><turn>")
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{{ m.content }}",  # is no template
        "{{ strftime_now('%Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>",  # dated
        "{% for m in messages %}{{ m.content | upper }}</>{% endfor %}<assistant>",
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}",  # no opening for a reply
        "{% for m in messages %}{{ loop.index }}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>",
        "{{ ''.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_does_not_depend_on_the_role_alone_has_no_marks(template: str) -> None:
    assert marks_in(template, {}, encode) is None
