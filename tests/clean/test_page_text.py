"""Light Markdown and plain text of blocks."""

import pytest
from resiliparse.parse.html import HTMLTree

from privllm.clean.page_blocks import read_blocks
from privllm.clean.page_text import write

PAGE = """<h1>Plans</h1><p>Two <b>bold</b> words and <a href=/x>a link</a>.</p>
<ul><li>one<ul><li>deeper</li></ul></li><li>two</li></ul><p>Then:</p><ol><li>first<br>line</li><li>second</li></ol>
<table><tr><th>Plan</th><th>Price</th></tr><tr><td>A|B</td><td>9</td></tr></table><pre>x = 1
  y</pre><dl><dt>f(x)</dt><dd>Return x.</dd></dl>"""
MARKDOWN = """# Plans

Two bold words and a link.

- one
  - deeper
- two

Then:

1. first
   line
2. second

| Plan | Price |
| --- | --- |
| A\\|B | 9 |

```
x = 1
  y
```

f(x)
Return x."""
TEXT = """Plans

Two bold words and a link.

one
deeper
two

Then:

first
line
second

Plan\tPrice
A|B\t9

x = 1
  y

f(x)
Return x."""


def text_of(markup: str, layout: str) -> str:
    body = HTMLTree.parse(markup).body
    assert body is not None
    return write(read_blocks(body.html).blocks, layout)


@pytest.mark.parametrize(("layout", "text"), [("markdown", MARKDOWN), ("text", TEXT)])
def test_structure_is_written(layout: str, text: str) -> None:
    assert text_of(PAGE, layout) == text


def test_code_cannot_close_its_fence() -> None:
    assert text_of("<pre>a\n```\nb</pre>", "markdown") == "````\na\n```\nb\n````"


def test_two_tables_have_two_heads() -> None:
    table = "<table><tr><td>a<td>b<tr><td>c<td>d</table>"
    assert text_of(table + table, "markdown").count("| --- | --- |") == 2
