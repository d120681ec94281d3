"""The guide beside packed rows says of each token what its document's annotation says."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from privllm.core.errors import UserError
from privllm.core.records import ANNOTATIONS, POS_TAGS
from privllm.core.report import write_json
from privllm.core.split import SPLITS
from privllm.core.tables import read_table, shards_of, write_table
from privllm.tokens.annotation_alignment import parts_of_speech, spans_of
from privllm.tokens.encode import Encoder
from privllm.tokens.pack import FROM_WEAK_SPOTS, PackConfig, pack
from privllm.tokens.rows import open_rows
from privllm.tokens.token_annotations import GuideConfig, GuideInputs, make_guide, open_guide

TAGS = ("NOUN", "VERB", "ADJ")


def annotated(row: dict) -> dict:
    words = [word.span() for word in re.finditer(r"\S+", row["text"][:200])]
    spans = {"token_start": [begin for begin, _ in words], "token_end": [end for _, end in words]}
    tree = {
        "pos": [TAGS[i % 3] for i in range(len(words))],
        "dep": ["x"] * len(words),
        "head": [max(0, i - 1) for i in range(len(words))],
    }
    return (
        {"id": row["id"]}
        | spans
        | tree
        | {"entity_start": [words[1][0]], "entity_end": [words[2][1]], "entity_label": ["ORG"]}
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, deduped: Path, tokenizer: Path) -> GuideInputs:
    root = tmp_path_factory.mktemp("guide")
    pack(PackConfig(32), deduped, tokenizer, root / "pack")
    for shard in shards_of(deduped):
        rows = [
            annotated(row) for row in read_table(shard, ["id", "text"]).to_pylist()[::2] if len(row["text"].split()) > 3
        ]
        write_table(pa.Table.from_pylist(rows, ANNOTATIONS), root / "annotate" / shard.name)
    return GuideInputs(root / "pack", deduped, root / "annotate", tokenizer)


def test_each_token_of_each_row_has_what_its_document_says(inputs: GuideInputs, tmp_path: Path) -> None:
    cfg = GuideConfig(max_words=4)
    counts = make_guide(cfg, inputs, tmp_path)
    encoder = Encoder.open(inputs.tokenizer)
    expected = {}
    for documents, annotations in zip(shards_of(inputs.documents), shards_of(inputs.annotations), strict=True):
        spans = {row["id"]: row for row in read_table(annotations).to_pylist()}
        for row in read_table(documents, ["id", "text"]).to_pylist():
            if row["id"] in spans:
                own = encoder.byte_sizes(encoder.encode([row["text"]])[0])
                expected[row["id"]] = (
                    parts_of_speech(row["text"], own, spans[row["id"]]),
                    spans_of(row["text"], own, spans[row["id"]], 4),
                )
    annotated_tokens = 0
    for name in SPLITS:
        rows, guide = open_rows(inputs.rows / name), open_guide(tmp_path / "masked" / name)
        assert len(rows) == len(guide)
        for i in range(len(rows)):
            pos, span = guide.row(i, len(rows.tokens(i)))
            covered = np.zeros(len(pos), bool)
            for piece in rows.pieces(i):
                in_row = slice(piece["row_start"], piece["row_start"] + piece["tokens"])
                there = slice(piece["document_start"], piece["document_start"] + piece["tokens"])
                if piece["id"] not in expected:
                    continue
                covered[in_row] = True
                assert [POS_TAGS[code] for code in pos[in_row]] == expected[piece["id"]][0][there].tolist()
                wanted = expected[piece["id"]][1][there]
                assert ((span[in_row] >= 0) == (wanted >= 0)).all()
                both = [set(zip(span[in_row].tolist(), wanted.tolist(), strict=True))]
                assert len(both[0]) == len({a for a, _ in both[0]}) == len({b for _, b in both[0]})  # the same groups
            assert not pos[~covered].any()
            assert (span[~covered] == -1).all()
            annotated_tokens += int((pos > 0).sum())
    assert counts["tokens"] == annotated_tokens > 100
    assert counts["documents"] == len(expected)


def test_copies_of_a_document_are_guided_like_the_first(inputs: GuideInputs, tmp_path: Path) -> None:
    write_json(tmp_path / "weak.json", {"masked": [{"kind": "length", "slice": "0-1 kB", "ratio": 3.5}]})
    cfg = PackConfig(32, FROM_WEAK_SPOTS, 4.0)
    report = pack(cfg, inputs.documents, inputs.tokenizer, tmp_path / "pack", promoted=tmp_path / "weak.json")
    assert report["repeated"]["copies"] > 2 * report["repeated"]["documents"]
    test_each_token_of_each_row_has_what_its_document_says(inputs._replace(rows=tmp_path / "pack"), tmp_path / "guide")


def test_families_that_look_at_no_annotation_get_the_same_bytes_whatever_it_says(
    inputs: GuideInputs, tmp_path: Path
) -> None:
    for path in shards_of(inputs.annotations):
        write_table(read_table(path).slice(0, 0), tmp_path / "none" / path.name)
    make_guide(GuideConfig(), inputs, tmp_path / "a")
    counts = make_guide(GuideConfig(), inputs._replace(annotations=tmp_path / "none"), tmp_path / "b")
    for family in ("causal", "seq2seq"):
        assert (tmp_path / "a" / family / "none.json").read_bytes() == (
            tmp_path / "b" / family / "none.json"
        ).read_bytes()
    assert counts["rows"] == counts["tokens"] == 0
    pos, span = open_guide(tmp_path / "b/masked/train").row(0, 5)
    assert (pos.tolist(), span.tolist()) == ([0] * 5, [-1] * 5)


def test_a_phrase_has_two_words_at_least() -> None:
    with pytest.raises(UserError, match=r"guide\.max_words"):
        GuideConfig(max_words=1)
