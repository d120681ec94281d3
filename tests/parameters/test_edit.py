"""Edits of params.yaml: what is read afterwards is what was meant, and nothing else moved."""

import copy
import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.plain_yaml import parse_yaml
from privllm.parameters.edit import set_values

TEXT = """\
# what people turn
families: [causal]  # what is trained

pretrain:
  causal:
    start: scratch
    epochs: 1.0  # the longest part
    model: {layers: 6, width: 256}
  masked: {}
pack: {context: 256,
       mixture: even}
"""


def updated(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The slow way: into the parsed value."""
    values = copy.deepcopy(values)
    for dotted, value in changes.items():
        section, *names = values, *dotted.split(".")
        for name in names[:-1]:
            section = section.setdefault(name, {})
        section[names[-1]] = value
    return values


KEYS = [
    "pretrain.causal.epochs",
    "pretrain.causal.model.layers",
    "pretrain.causal.model.dropout",
    "pretrain.causal.batch_size",
    "pretrain.masked.model.width",
    "pretrain.masked.epochs",
    "pretrain.seq2seq.epochs",
    "pack.context",
    "pack.max_weight",
    "tokenizer.vocabulary",
]
SCALARS = st.one_of(
    st.integers(-5, 10**9), st.floats(1e-6, 1e6).map(lambda x: round(x, 6)), st.booleans(), st.text("ab: #é")
)


@given(st.dictionaries(st.sampled_from(KEYS), SCALARS))
def test_what_is_read_afterwards_is_what_was_set(changes):
    assert parse_yaml(set_values(TEXT, changes)) == updated(parse_yaml(TEXT), changes)


@given(st.dictionaries(st.sampled_from(KEYS), SCALARS))
def test_every_comment_stays(changes):
    edited = set_values(TEXT, changes)
    for comment in ("# what people turn\n", "  # what is trained\n", "  # the longest part\n"):
        assert edited.count(comment) == 1


def test_only_the_lines_of_the_values_change():
    edited = set_values(
        TEXT, {"pretrain.causal.epochs": 4.0, "pretrain.causal.model.dropout": 0.1, "pack.context": 512}
    )
    changed = [line for line in difflib.ndiff(TEXT.splitlines(), edited.splitlines()) if line.startswith("+ ")]
    assert changed == [
        "+     epochs: 4.0  # the longest part",
        "+     model: {layers: 6, width: 256, dropout: 0.1}",
        "+ pack: {context: 512,",
    ]


def test_a_small_rate_is_a_number():
    assert yaml.safe_load(set_values("a: 1\n", {"a": 0.00001})) == {"a": 0.00001}


def test_the_shipped_file_survives():
    text = (Path(__file__).resolve().parents[2] / "params.yaml").read_text("utf-8")
    changes = {"pretrain.causal.epochs": 3.5, "pretrain.masked.model.dropout": 0.1, "pack.context": 128}
    edited = set_values(text, changes)
    assert parse_yaml(edited) == updated(parse_yaml(text), changes)
    assert edited.count("#") == text.count("#")


@pytest.mark.parametrize("text", ["a:\n  b: 1\n", "a: {b: 1}\n", "a: {}\n", "a:\n"])
def test_a_missing_key_is_added_in_the_layout_of_its_mapping(text):
    edited = set_values(text, {"a.c": 2})
    assert parse_yaml(edited)["a"]["c"] == 2
    assert ("{" in edited) == ("\n  b" not in text)
