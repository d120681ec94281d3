"""Pages: what is content, and what no page can do to us."""

import time

import pytest

from privllm.clean.html import MAX_DEPTH, ParsingTooCostly, extract

LIMIT = 64_000_000
ARTICLE = "<p>The cat sat on the mat and thought about the nature of mats, and of cats that sit on them.</p>" * 5
PAGE = f"""<html><head><title>t</title><style>p {{ color: red }}</style><script>var x = 1</script></head><body>
<nav><a href=/>Home</a> <a href=/shop>Shop</a></nav><main><h1>Cats</h1>{ARTICLE}</main><footer>Imprint</footer></body></html>"""


def test_main_content_stays_and_furniture_goes() -> None:
    text = extract(PAGE, LIMIT)
    assert text.count("The cat sat on the mat") == 5
    assert not any(word in text for word in ("Shop", "Imprint", "color", "var x"))


def test_indentation_of_code_is_kept() -> None:
    text = extract(f"<body>{ARTICLE}<pre>def f(x):\n    if x:\n        return 1\n</pre>{ARTICLE}", LIMIT)
    assert "def f(x):\n    if x:\n        return 1\n" in text


def test_reference_page_of_tables_does_not_come_out_empty() -> None:
    rows = "".join(
        f"<tr><td><a name=f{i}>f{i}</a></td><td><dl><dt>f{i}(x, y)</dt><dd><tt>Return number {i}.</tt></dd></dl></td></tr>"
        for i in range(30)
    )
    text = extract(f"<body><table>{rows}</table></body>", LIMIT)
    assert all(f"Return number {i}." in text for i in range(30))


def test_list_of_links_falls_back_to_the_page_without_furniture() -> None:
    links = "".join(f"<li><a href={i}.html>Chapter {i}</a></li>" for i in range(40))
    text = extract(f"<body><nav><a href=/>Home</a></nav><ul>{links}</ul></body>", LIMIT)
    assert "Chapter 39" in text
    assert "Home" not in text


@pytest.mark.parametrize(
    "markup",
    [
        "",
        " ",
        "<",
        "<html",
        "<p",
        "</",
        "<!--",
        "<!DOCTYPE",
        "<![CDATA[x",
        "&#",
        "&#xD800;",
        "<a b='",
        "<script>",
        "<textarea>x",
        "\x00",
        "<table><td><svg><p>",
    ],
)
def test_truncated_pages_survive(markup: str) -> None:
    assert isinstance(extract(markup, LIMIT), str)


def test_every_truncation_of_a_page_survives() -> None:
    for end in range(len(PAGE)):
        extract(PAGE[:end], LIMIT)


@pytest.mark.parametrize("tag", ["<div>", "<b>", "<ul><li>x", "<table><tr><td>", "<svg><g>", "<div></span>"])
def test_depth_is_refused_quickly(tag: str) -> None:
    start = time.process_time()
    with pytest.raises(ParsingTooCostly) as refused:
        extract(tag * 100_000, LIMIT)
    assert refused.value.args[0] in ("html_too_deep", "html_unclosed_formatting")
    assert time.process_time() - start < 3


def test_depth_that_browsers_allow_is_read() -> None:
    assert extract("<div>" * (MAX_DEPTH - 10) + ARTICLE, LIMIT).count("The cat") == 5


def test_unclosed_formatting_cannot_multiply() -> None:
    with pytest.raises(ParsingTooCostly, match="html_unclosed_formatting"):
        extract("".join(f"<p><font size={i}>x" for i in range(20_000)), LIMIT)


def test_many_closed_formatting_elements_are_no_bomb() -> None:
    assert extract("<p>" + "<b>bold</b> and <i>italic</i> text " * 10_000, LIMIT).count("bold") == 10_000


def test_a_large_page_on_one_line_is_read() -> None:
    assert len(extract("<p>" + "word " * 1_000_000, LIMIT)) >= 4_999_999


def test_size_limit() -> None:
    with pytest.raises(ParsingTooCostly, match="html_too_large"):
        extract("<p>" + "x" * 100, 50)
