"""Notebooks: cells in their order, without outputs."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.source_file import ReadOptions

CELLS = [
    {"cell_type": "markdown", "source": ["# Foxes\n", "They rest."]},
    {"cell_type": "code", "source": "rest(1)\n", "outputs": [{"text": ["a secret output"]}]},
    {"cell_type": "code", "source": ["x = '''\n```\n'''"]},
    {"cell_type": "code", "source": []},
    {"cell_type": "raw", "source": "As it is."},
]
TEXT = "# Foxes\nThey rest.\n\n```python\nrest(1)\n```\n\n````python\nx = '''\n```\n'''\n````\n\nAs it is.\n"


def row_of(folder: Path, value: Any) -> CollectedDocument | Quarantined:
    path = folder / "a.ipynb"
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    (row,) = read_file(path, folder, 10_000, options=ReadOptions(code=True))
    return row


@pytest.mark.parametrize("metadata", [{"language_info": {"name": "python"}}, {"kernelspec": {"language": "python"}}])
def test_cells_become_markdown(tmp_path: Path, metadata: dict) -> None:
    row = row_of(tmp_path, {"nbformat": 4, "metadata": metadata, "cells": CELLS})
    assert isinstance(row, CollectedDocument)
    assert (row.text, row.media_type) == (TEXT, "text/markdown")


def test_a_notebook_of_format_3(tmp_path: Path) -> None:
    cells = [{"cell_type": "heading", "level": 2, "source": "Foxes"}, {"cell_type": "code", "input": ["rest()"]}]
    row = row_of(tmp_path, {"nbformat": 3, "worksheets": [{"cells": cells}]})
    assert isinstance(row, CollectedDocument)
    assert row.text == "## Foxes\n\n```\nrest()\n```\n"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{oops", "bad_json"),
        ({"cells": 5}, "no_notebook"),
        ([1], "no_notebook"),
        ({"cells": []}, "empty"),
        ({"cells": [{"cell_type": "code", "source": 5, "outputs": ["x"]}]}, "empty"),
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, value: Any, reason: str) -> None:
    row = row_of(tmp_path, value)
    assert isinstance(row, Quarantined)
    assert row.reason == reason


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["cells", "source", "cell_type", "metadata", "worksheets", "kernelspec", "language", "level"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_no_json_crashes(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    assert row_of(tmp_path_factory.mktemp("notebook"), value).source == "a.ipynb"


def test_all_sheets_of_a_notebook_of_format_3_are_read(tmp_path: Path) -> None:
    sheets = [{"cells": [{"cell_type": "markdown", "source": [f"Sheet {number}"]}]} for number in (1, 2)]
    row = row_of(tmp_path, {"nbformat": 3, "metadata": {}, "worksheets": [*sheets, {}]})
    assert isinstance(row, CollectedDocument)
    assert row.text == "Sheet 1\n\nSheet 2\n"
