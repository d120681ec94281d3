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


def test_a_small_page_may_be_deeper() -> None:
    """Few tags cost little at any depth, so they are not asked how deep they are."""
    assert extract("<div>" * (2 * MAX_DEPTH) + ARTICLE, LIMIT).count("The cat") == 5


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


def around(markup: str) -> str:
    """Return the text of a page that has `markup` amid an article."""
    return extract(f"<body><main><h1>Survey</h1>{ARTICLE}{markup}{ARTICLE}</main></body>", LIMIT)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<ul><li><span class=x>Who has keys</span></li><li><span>Where they hang</span></li></ul>", "- Who has keys\n- Where they hang"),
        ("<address>3 Quay Street, Wexby</address>", "3 Quay Street, Wexby"),
        ("<details><summary>When we open</summary><p>At eight on Fridays.</p></details>", "When we open\n\nAt eight on Fridays."),
        ("<div>words outside<div>words inside</div>and the end</div>", "words outside\n\nwords inside\n\nand the end"),
        ("<p>A ninth <nobr>harbour master</nobr> came.</p>", "A ninth harbour master came."),
        ("<script>if (2 < 3 && '</i' > 1) { y = '<p>'; }</script><p>Below the script.</p>", "Below the script."),
        ("<div><span style='display:block'>4 June</span><span style='display:block'>Tide table</span></div>", "4 June\n\nTide table"),
        ("<table><tr><th>Boat<th>Crew<tr><td>Ada<td>4</table>", "| Boat | Crew |\n| --- | --- |\n| Ada | 4 |"),
        ("<table><tr><td><table><tr><td>left<td>right</table><td>outside</table>", "| left | right |\n| --- | --- |\n\noutside"),
        ("<figure><img src=a><figcaption>The cat, asleep</figcaption></figure>", "The cat, asleep"),
        ("<p><label>Name of the cat:</label> Tom</p>", "Name of the cat: Tom"),
        ("<pre>a = 1\n  b</pre>", "```\na = 1\n  b\n```"),
    ],
)  # fmt: skip
def test_what_stands_amid_an_article_is_kept(markup: str, text: str) -> None:
    assert f"\n\n{text}\n\n" in around(markup)


def test_lists_directly_below_the_body_are_kept() -> None:
    items = ["the first of them is long enough to be a sentence.", "the second of them, too, says something."]
    page = f"<html><body>{ARTICLE}<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>{ARTICLE}</body></html>"
    assert all(f"- {item}" in extract(page, LIMIT) for item in items)


def test_menu_in_a_layout_of_tables_goes() -> None:
    menu = "<td><a href=/>Start</a><br><a href=/n>Reports</a><br><a href=/c>Imprint</a></td>"
    text = extract(f"<table><tr>{menu}<td>{ARTICLE}<table><tr><td>Year<td>1987</table></td></table>", LIMIT)
    assert "| Year | 1987 |" in text
    assert "Imprint" not in text


def test_teasers_stand_on_lines_of_their_own() -> None:
    teasers = "".join(
        f"<div><a href=/{n}><h2>Story {n}</h2></a><p>What happened at place {n}.</p></div>" for n in range(9)
    )
    text = extract(f"<h1>Today</h1>{teasers}", LIMIT)
    assert all(f"\n\nWhat happened at place {n}." in f"\n\n{text}" for n in range(9))


def test_text_has_no_signs_of_markdown() -> None:
    page = f"<h1>Cats</h1>{ARTICLE}<ul><li>one</li><li>two</li></ul>{ARTICLE}"
    assert "# Cats" in extract(page, LIMIT)
    plain = extract(page, LIMIT, "text")
    assert "Cats\n" in plain
    assert not any(sign in plain for sign in ("#", "- one"))
