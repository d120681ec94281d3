"""How a difference and tokens look in a terminal, with colours and without."""

from privllm.cli.showing import LONGEST, diff_text, tokens_text
from privllm.manage.word_diff import Segment

DIFFERENCE = [Segment("same", "Write to "), Segment("gone", "bob@corp.example"), Segment("new", "<EMAIL>")]


def test_colours_say_what_is_gone_and_what_is_new() -> None:
    text = diff_text(DIFFERENCE, has_colour=True)
    assert text.plain == "Write to bob@corp.example<EMAIL>"
    assert [str(span.style) for span in text.spans if span.style] == ["red strike", "bold green"]


def test_without_colours_marks_say_it() -> None:
    assert diff_text(DIFFERENCE, has_colour=False).plain == "Write to [-bob@corp.example-]{+<EMAIL>+}"


def test_words_in_brackets_are_text_and_no_style() -> None:
    assert diff_text([Segment("same", "[red]a[/red]")], has_colour=True).plain == "[red]a[/red]"


def test_both_ends_of_a_long_stretch_are_shown() -> None:
    text = diff_text([Segment("same", "a" * LONGEST + "b" * LONGEST)], has_colour=True).plain
    assert text == f"{'a' * 400} [... 800 characters ...] {'b' * 400}"


def test_the_end_of_each_token_can_be_seen() -> None:
    assert tokens_text(["The", " cat", "\n"], has_colour=False).plain == "The|\u00b7cat|\\n|"
    coloured = tokens_text(["The", " cat", ""], has_colour=True)
    assert coloured.plain == "The\u00b7cat\ufffd"
    assert len({str(span.style) for span in coloured.spans}) == 2
