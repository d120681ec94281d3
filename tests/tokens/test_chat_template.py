"""Marks read off a chat template, with words for tokens."""

import pytest

from privllm.tokens.chat_template import TurnMarks, marks_in, template_with
from privllm.tokens.vocabulary import CHAT_TEMPLATE

WORDS: dict[str, int] = {}
# As Mistral, Llama 2 and Gemma publish theirs (huggingface.co), without the parts for tools.
MISTRAL = (
    "<s>{% for m in messages %}{% if m.role == 'user' %}<inst>{{ m.content }}</inst>{% elif m.role == 'assistant' %}"
    "{{ m.content }}</s>{% else %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
)
LLAMA_2 = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set first = '<sys>' + messages[0].content + '</sys>' %}"
    "{% else %}{% set rest = messages %}{% set first = '' %}{% endif %}{% for m in rest %}{% if m.role == 'user' %}"
    "<s><inst>{{ (first if loop.first else '') + m.content }}</inst>{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
GEMMA = (
    "<bos>{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set first = messages[0].content + ' || ' %}"
    "{% else %}{% set rest = messages %}{% set first = '' %}{% endif %}{% for m in rest %}<turn>"
    "{{ 'model' if m.role == 'assistant' else 'user' }} <nl>{{ (first if loop.first else '') + m.content }}</turn>{% endfor %}"
    "{% if add_generation_prompt %}<turn>model <nl>{% endif %}"
)


def encode(text: str) -> list[int]:
    """A number for each thing between blanks and angle brackets."""
    parts = text.replace("<", " <").replace(">", "> ").split()
    return [WORDS.setdefault(part, len(WORDS)) for part in parts]


def ids(text: str) -> tuple[int, ...]:
    return tuple(encode(text))


def decode(numbers: tuple[int, ...]) -> str:
    names = {number: word for word, number in WORDS.items()}
    return "".join(names[number] for number in numbers)


def test_our_own_template() -> None:
    turn_marks = marks_in(CHAT_TEMPLATE, {"bos_token": "<s>"}, encode)
    end = ids("<|end|>")
    assert turn_marks == TurnMarks(ids("<s>"), ids("<|user|>"), ids("<|assistant|>"), end, end, None, "\n\n")


def test_a_system_prompt_by_default_belongs_to_the_beginning() -> None:
    template = (
        "{% if messages[0].role != 'system' %}<turn>system good</turn>{% endif %}"
        "{% for m in messages %}<turn>{{ m.role }} {{ m.content }}</turn>{% endfor %}"
        "{% if add_generation_prompt %}<turn>assistant {% endif %}"
    )
    turn_marks = marks_in(template, {}, encode)
    end = ids("</turn>")
    assert turn_marks == TurnMarks(
        ids("<turn>system good</turn>"),
        ids("<turn>user"),
        ids("<turn>assistant"),
        end,
        end,
        system=(ids("<turn>system"), ids("</turn><turn>user")),
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (MISTRAL, TurnMarks(ids("<s>"), ids("<inst>"), ids("</inst>"), ids("</s>"), ())),
        (
            LLAMA_2,
            TurnMarks((), ids("<s><inst>"), ids("</inst>"), ids("</s>"), (), (ids("<s><inst><sys>"), ids("</sys>"))),
        ),
        (
            GEMMA,
            TurnMarks(
                ids("<bos>"),
                ids("<turn>user<nl>"),
                ids("<turn>model<nl>"),
                ids("</turn>"),
                ids("</turn>"),
                None,
                " || ",
            ),
        ),
    ],
)
def test_templates_of_other_families(template: str, expected: TurnMarks) -> None:
    assert marks_in(template, {}, encode) == expected


def test_a_template_made_of_marks_puts_the_same_marks() -> None:
    for marks in (
        TurnMarks(ids("<s>"), ids("<u>"), ids("<a>"), ids("<e>"), ids("<e>")),
        TurnMarks(ids("<s>"), ids("<u>"), ids("<a>"), ids("<e>"), ()),
        TurnMarks(ids("<s>"), ids("<u>"), ids("<a>"), ids("<e>"), ids("<e>"), (ids("<s><sys>"), ids("<e><u>"))),
    ):
        assert marks_in(template_with(marks, decode), {}, encode) == marks


@pytest.mark.parametrize(
    "template",
    [
        "{% if tools is not none %}<tools>{% endif %}" + GEMMA,
        "{% if documents is none %}" + GEMMA + "{% endif %}",
        GEMMA.replace("{{ 'model'", "{% generation %}{{ 'model'").replace(
            "</turn>{% endfor", "</turn>{% endgeneration %}{% endfor"
        ),
    ],
)
def test_a_template_is_called_as_transformers_calls_it(template: str) -> None:
    assert marks_in(template, {}, encode) == marks_in(GEMMA, {}, encode) is not None


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
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ 'a' * (10 ** 12) }}",
        "{% break %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{# " + "x" * 300_000 + " #}{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>",
        "\ud800",
    ],
)
def test_what_does_not_depend_on_the_role_alone_has_no_marks(template: str) -> None:
    assert marks_in(template, {}, encode) is None
