"""Blocks of pages: every word in order, lists, tables and code as they are built, and no input that costs too much."""

import random
import re
import time
from html.parser import HTMLParser

import pytest
from resiliparse.parse.html import HTMLTree

from privllm.clean.page_blocks import MAX_CELL, Block, read_blocks, without_raw_text


def blocks_of(markup: str) -> list[Block]:
    body = HTMLTree.parse(markup).body
    assert body is not None
    return read_blocks(body.html).blocks


def texts(markup: str) -> list[str]:
    return [block.text for block in blocks_of(markup)]


class SlowText(HTMLParser):
    """All words outside of what no reader sees, by the standard library."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def random_page(generator: random.Random) -> str:
    """Return a page of nested elements, well formed, in which each word occurs once."""
    number = 0
    pieces: list[str] = []

    def fill(depth: int) -> None:
        nonlocal number
        for _ in range(generator.randint(1, 4)):
            number += 1
            name = generator.choice(["div", "section", "ul", "ol", "table", "p", "pre", "h2", "blockquote", "dl"])
            if depth == 0 or name in ("p", "pre", "h2"):
                pieces.append(f"<{name if depth else 'p'}>w{number} <b>x{number}</b> </{name if depth else 'p'}>")
                continue
            inner = {"ul": "li", "ol": "li", "dl": "dd"}.get(name, "")
            if name == "table":
                pieces.append("<table><tbody><tr><td>")
                fill(depth - 1)
                pieces.append(f"</td><td>y{number}</td></tr></tbody></table>")
                continue
            pieces.append(f"<{name}>" + (f"<{inner}>" if inner else f"z{number} "))
            fill(depth - 1)
            pieces.append((f"</{inner}>" if inner else "") + f"</{name}>")

    fill(4)
    return "".join(pieces)


@pytest.mark.parametrize("seed", range(30))
def test_no_word_is_lost_doubled_or_moved(seed: int) -> None:
    page = random_page(random.Random(seed))
    slow = SlowText()
    slow.feed(page)
    assert " ".join(texts(page)).split() == slow.words


def test_scripts_styles_comments_and_controls_are_left_out() -> None:
    page = """<body>one<script>if (1 < 2 && "</p" > 1) { x = "<b>"; }</script><style>p > a {}</style><!-- a > b <p>no -->
    <svg><title>no</title><svg></svg>no</svg><select><option>no</select><textarea>no</textarea><iframe>no</iframe> two"""
    assert " ".join(texts(page)).split() == ["one", "two"]


def test_elements_of_own_names_are_read() -> None:
    page = (
        "<p><svg-icon>one</svg-icon> <script-note>two</script-note></p><p>three</p><svg><path></path></svg><p>four</p>"
    )
    assert " ".join(texts(page)).split() == ["one", "two", "three", "four"]


def test_a_drawing_in_a_drawing_is_left_out_whole() -> None:
    assert texts("<p>one</p><svg><svg><path></svg><text>no</text></svg><p>two</p>") == ["one", "two"]


@pytest.mark.parametrize(
    ("markup", "expected", "links"),
    [
        ('<h1>The pump<a class="headerlink" href="#pump" title="Link to this heading">¶</a></h1>', "The pump", 0),
        ('<h2><a href="#pump">#</a> The pump</h2>', "The pump", 0),
        ('<h2><a href="#pump">#</a> The pump <a href="#pump">§</a> </h2>', "The pump", 0),
        ('<p>It lifts water.<a href="#p1">¶</a></p>', "It lifts water.", 0),
        ('<dl><dt><code>lift</code>()<a href="#lift">¶</a></dt></dl>', "lift()", 0),
        ('<p>See <a href="#p12">¶</a> 12 of the law.</p>', "See ¶ 12 of the law.", 1),
        ('<p><a href="#p1">#</a> is a mark.</p>', "# is a mark.", 1),
        ('<p>Written in C<a href="sharp.html">#</a></p>', "Written in C#", 1),
        ("<p>Paragraph ¶</p>", "Paragraph ¶", 0),
    ],
)
def test_a_link_of_a_block_to_itself_is_no_word_of_it(markup: str, expected: str, links: int) -> None:
    (block,) = blocks_of(markup)
    assert (block.text, block.link_characters) == (expected, links)


def test_old_elements_of_raw_text_are_code() -> None:
    assert [block.kind for block in blocks_of("<p>one<xmp><b>a</b></xmp><p>two")] == ["p", "pre", "p"]
    assert texts("<p>one<xmp><b>a</b></xmp>")[1] == "<b>a</b>"
    assert without_raw_text("<p>a</p><script>never closed") == "<p>a</p>"


def test_what_scripts_would_replace_is_read() -> None:
    assert texts("<div id=app></div><noscript><p>The page itself</p></noscript>") == ["The page itself"]


def test_elements_in_line_join_and_those_shown_as_blocks_part() -> None:
    assert texts("<p>pension <nobr>fund</nobr> gr<i>e</i>w</p>") == ["pension fund grew"]
    assert texts("<div><span style='display:block'>3 May</span><span style='display: block'>Rain</span></div>") == [
        "3 May",
        "Rain",
    ]
    assert texts("<p>first<br>second</p>") == ["first\nsecond"]
    assert texts("<div>outer<div>inner</div>tail</div>") == ["outer", "inner", "tail"]


def test_a_button_is_text_only_where_it_is_a_heading() -> None:
    assert texts("<h3><button>Why?</button></h3><p>Because.</p><button>Buy</button>") == ["Why?", "Because."]


def test_items_have_markers_and_indents() -> None:
    page = "<ul><li>a<ol><li>b</li><li><p>c</p><p>d</p></li></ol></li><li>e</li></ul>"
    assert [(block.marker, block.indent, block.text) for block in blocks_of(page)] == [
        ("- ", 0, "a"),
        ("1. ", 2, "b"),
        ("2. ", 2, "c"),
        ("", 5, "d"),
        ("- ", 0, "e"),
    ]


def test_code_keeps_its_lines() -> None:
    page = "<pre>\nif x:\n    <b>return</b> 1 &lt; 2\n</pre><pre><div>a</div><div>  b</div></pre>"
    assert texts(page) == ["if x:\n    return 1 < 2", "a\n  b"]


def test_rows_of_data_are_blocks_and_layouts_are_not() -> None:
    data = "<table><caption>Prices</caption><tr><th>Plan<th>Price<tr><td>Team<td><p>29</p></table>"
    assert [block.cells for block in blocks_of(data)] == [(), ("Plan", "Price"), ("Team", "29")]
    gap = "<table><tr><td>a<td><td>c<tr><td>d</table>"
    assert [block.cells for block in blocks_of(gap)] == [("a", "", "c"), ("d", "", "")]
    nested = "<table><tr><td><table><tr><td>one<td>two</table><td>outer</table>"
    assert [block.cells for block in blocks_of(nested)] == [("one", "two"), ()]
    for layout in ("<p>a<p>b", "<ul><li>a</ul>", "<pre>a</pre>", "x" * (MAX_CELL + 1)):
        assert not any(block.cells for block in blocks_of(f"<table><tr><td>{layout}<td>c</table>"))


def test_links_count_where_they_lead_somewhere() -> None:
    assert [b.link_characters for b in blocks_of("<p><a href=x>four</a> more</p><p><a name=x>none</a></p>")] == [4, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "markup",
    [
        "<ul><li>x" * 150 + "<li>y" * 20_000,
        "<table><tr><td>" * 80 + "x",
        "<table>" + "<tr><td>x<td>y" * 50_000,
        "<p>" + "<" * 200_000,
        "<svg><style>" + '&lt;a "' * 200_000 + "</style></svg><p>x",
        "<plaintext>" + '<a "' * 200_000,
        "<p>" + "<!--" * 100_000,
        "<pre>" + "<div>x</div>" * 100_000,
        "<p>" + "word\n" * 500_000,
        "<h1>" + "<a href='#x'>#</a>" * 100_000,
        "<p " + " ".join(f"a{i}='" + "x" * 50 + "'" for i in range(50_000)) + ">y",
    ],
    ids=lambda markup: re.sub(r"\W+", "-", markup[:20]),
)
def test_cost_is_linear(markup: str) -> None:
    body = HTMLTree.parse(markup).body
    assert body is not None
    start = time.process_time()
    read_blocks(body.html)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "markup",
    [
        "<ul><li class=a b<c>one</li><li>two</li></ul>",
        "<ul><li>one</li x<y><li>two</li></ul>",
        "<ul><li>one</li><li>two</li></ul><script x<y>document.write('</li></ul>')</script>",
        "<p>one</p><span x<y=1>two</span>",
    ],
)
def test_names_of_attributes_may_hold_what_opens_a_tag(markup: str) -> None:
    assert " ".join(texts(markup)).split() == ["one", "two"]


def test_ends_without_beginnings_end_nothing() -> None:
    """The name of the first element is `a<!--`, so what is passed over as a comment has the beginning of the item."""
    assert texts("<a<!--><li><g><!-- --></g></li></a><p>one</p>")[-1:] == ["one"]


PROSE = "The council agreed on the plan, but the harbour will stay closed until the engineers have seen it."


@pytest.mark.parametrize(
    "rows",
    [
        f"<tr><td><img alt=Note><th>Note<tr><td colspan=2>{PROSE}",  # DocBook's
        f"<tr><td>Note<td>{PROSE}",  # AsciiDoc's
        f"<tr><td>9.<td>{PROSE}",
        f"<tr><td><td><tr><td>9.<td>{PROSE}",
    ],
)
def test_notes_and_items_in_tables_are_prose(rows: str) -> None:
    assert [block.cells for block in blocks_of(f"<table>{rows}</table>")] == [(), ()]


@pytest.mark.parametrize("rows", ["<tr><td>Model<td>Range", f"<tr><td>Name<td>Plan<tr><td>A<td>{PROSE}"])
def test_a_row_of_short_cells_and_two_rows_are_data(rows: str) -> None:
    assert all(block.cells for block in blocks_of(f"<table>{rows}</table>"))


def test_text_after_an_instruction_is_kept() -> None:
    assert texts("<p>one <?php x?>two</p>") == ["one two"]
    assert [block.text for block in read_blocks("<body><p>one <?php x?>two</p></body>").blocks] == ["one two"]
