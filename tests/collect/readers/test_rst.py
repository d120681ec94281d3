"""reStructuredText as light Markdown."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument
from privllm.collect.read_file import read_file
from privllm.collect.readers.rst import inline, markdown_of

PAGE = """\
.. _top:

=========
The Foxes
=========

.. contents:: Here
   :depth: 2

They :doc:`rest <rest>` in ``dens``. See `the den <https://example.org>`_ and Foxes_.

Their *food*
------------

.. note:: They eat
   :ref:`mice`.

.. A comment
   that goes on.

- one
- two

Call them::

    fox = call("||")

    fox.rest()

.. code-block:: python
   :linenos:

   def den():
       return 1

.. image:: fox.png
   :alt: not text

Deeper
~~~~~~

.. function:: rest(hours)

   Rests for |n| hours.

.. [1] A footnote.

Their end
---------
"""
TEXT = """\
# The Foxes

They rest in `dens`. See the den and Foxes.

## Their *food*

They eat
mice.

- one
- two

Call them:

```
fox = call("||")

fox.rest()
```

```python
def den():
    return 1
```

### Deeper

rest(hours)

Rests for n hours.

[1] A footnote.

## Their end
"""


def test_a_page(tmp_path: Path) -> None:
    path = tmp_path / "a.rst"
    path.write_text(PAGE)
    (row,) = read_file(path, tmp_path, 10_000)
    assert isinstance(row, CollectedDocument)
    assert (row.text, row.media_type) == (TEXT, "text/markdown")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (":py:class:`~a.b.C`", "a.b.C"),
        ("a_name and __init__ and x_y_", "a_name and __init__ and x_y"),
        ("``a`b_``", "`a`b_`"),
        ("`text`:sub: and `plain`", "text and plain"),
        ("1 | 2 | 3", "1 | 2 | 3"),
    ],
)
def test_inline_marks(text: str, plain: str) -> None:
    assert inline(text) == plain


def test_words_of_plain_text_stay() -> None:
    text = "One line.\n\nAnother line: with a colon\n  and an indent.\n"
    assert markdown_of(text) == text


@given(st.text(st.sampled_from(list("ab.:`_|=-~ \n\t[]*<>#")), max_size=200))
def test_any_text_is_converted(text: str) -> None:
    markdown_of(text)


@pytest.mark.parametrize("piece", ["`a", ".. note::\n ", ":a:`", "|a", "=\n", "a::\n ", "``", "[1]_ "])
def test_time_grows_with_the_text(piece: str) -> None:
    began = time.process_time()
    markdown_of(piece * 20_000)
    assert time.process_time() - began < 5


def test_directives_in_directives_are_bounded() -> None:
    text = "\n".join(" " * depth + ".. note::" for depth in range(2000)) + "\n" + " " * 2000 + "inside"
    assert "inside" in markdown_of(text)


def test_text_that_is_only_for_pages_is_kept_and_that_for_print_is_not() -> None:
    assert markdown_of(".. only:: html\n\n   Shown.\n\n.. only:: latex\n\n   Printed.\n\nEnd.\n") == "Shown.\n\nEnd.\n"


def test_a_table_in_csv_is_a_table_with_its_header() -> None:
    source = '.. csv-table:: Depths\n   :header: "Pier", "Depth"\n   :widths: 1, 2\n\n   1, "deep, very"\n   2, *wide*\n\nEnd.\n'
    assert (
        markdown_of(source) == "Depths\n\n| Pier | Depth |\n| --- | --- |\n| 1 | deep, very |\n| 2 | *wide* |\n\nEnd.\n"
    )
    too_long = "x" * 200_000
    assert too_long in markdown_of(f".. csv-table::\n\n   1, {too_long}\n")
    without = ".. csv-table::\n\n   1, 2\n   3, 4\n"
    assert markdown_of(without) == "| 1 | 2 |\n| --- | --- |\n| 3 | 4 |\n"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            ".. function:: f(x)\n\n   :param x: a depth\n   :returns: a tide\n",
            "f(x)\n\nparam x: a depth\nreturns: a tide\n",
        ),
        (".. function:: f(x)\n   :noindex:\n\n   :param x: a depth\n", "f(x)\n\nparam x: a depth\n"),
        (".. note::\n\n   :Depth: deep\n", "Depth: deep\n"),
        (".. list-table:: Depths\n   :widths: 1\n\n   * - deep\n", "Depths\n\n* - deep\n"),
        (".. code:: c\n   :caption: A *tide*\n\n   :x: y\n", "A *tide*\n\n```c\n:x: y\n```\n"),
    ],
)
def test_only_the_options_of_a_directive_go(source: str, text: str) -> None:
    assert markdown_of(source) == text
