import numpy as np
import pytest
import torch

from privllm.core.errors import UserError
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import read_table, shards_of
from privllm.evaluate.perplexity import choose_rows, score_rows
from privllm.evaluate.recipe import Inputs
from privllm.model.causal import load_causal
from privllm.tokens.encoding import Encoder
from privllm.tokens.rows import open_rows

CONTEXT = 16
LOOKED_AT = 120  # tokens of each shard's stream: the loop is slow


def one_by_one(inputs: Inputs) -> dict[str, float]:
    """Nats of the first test documents of each shard: one forward pass per token over the unpacked stream, the slow and obvious way."""
    model, encoder = load_causal(inputs.model), Encoder.open(inputs.tokenizer)
    nats: dict[str, float] = {}
    for shard in shards_of(inputs.documents):
        table = read_table(shard, ["id", "text", "cluster"]).sort_by("id")
        stream, owner = [], []
        for row in table.to_pylist():
            if split_of(SplitConfig(0.1, 0.3), row["cluster"]) == "test":
                tokens = encoder.encode([row["text"]])[0].tolist()
                stream += [0, *tokens]
                owner += ["", *[row["id"]] * len(tokens)]
        for place in range(1, min(LOOKED_AT, len(stream))):
            begin = (place - 1) // CONTEXT * CONTEXT
            with torch.inference_mode():
                logits = model(torch.tensor([stream[begin:place]])).logits[0, -1]
            if owner[place] and owner[place] not in owner[LOOKED_AT:]:
                nats[owner[place]] = nats.get(owner[place], 0.0) - float(logits.double().log_softmax(0)[stream[place]])
    return nats


def test_equals_a_loop_over_the_unpacked_documents(inputs: Inputs) -> None:
    rows = open_rows(inputs.rows)
    found: dict[str, float] = {}
    for piece in score_rows(load_causal(inputs.model), rows, np.arange(len(rows)), batch_rows=5):
        found[piece.id] = found.get(piece.id, 0.0) + float(piece.nats.sum())
    expected = one_by_one(inputs)
    assert len(expected) >= 2
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_batch_size_does_not_matter(inputs: Inputs, batch_rows: int) -> None:
    rows, model = open_rows(inputs.rows), load_causal(inputs.model)
    base, other = (score_rows(model, rows, np.arange(12), size) for size in (4, batch_rows))
    assert [piece[:2] for piece in base] == [piece[:2] for piece in other]
    assert np.concatenate([piece.nats for piece in base]) == pytest.approx(np.concatenate([piece.nats for piece in other]), rel=1e-4)


def test_labels_are_each_document_once(inputs: Inputs) -> None:
    rows, encoder = open_rows(inputs.rows), Encoder.open(inputs.tokenizer)
    pieces: dict[str, list[int]] = {}
    for piece in score_rows(load_causal(inputs.model), rows, np.arange(len(rows)), 8):
        own = pieces.setdefault(piece.id, [])
        assert piece.start == len(own)
        own += piece.labels.tolist()
    for shard in shards_of(inputs.documents):
        table = read_table(shard, ["id", "text"])
        for row in table.to_pylist():
            if row["id"] in pieces:
                assert encoder.decode(np.array(pieces.pop(row["id"]))) == row["text"]
    assert not pieces


def test_chosen_rows_are_nested_and_ascending(inputs: Inputs) -> None:
    rows = open_rows(inputs.rows)
    few, more, all_of_them = (choose_rows(rows, limit) for limit in (3, 6, 10**6))
    assert len(few) == 3
    assert set(few) < set(more) < set(all_of_them)
    assert all_of_them.tolist() == [i for i in range(len(rows)) if rows.pieces(i)]


def test_a_diverged_model_is_reported(inputs: Inputs) -> None:
    model = load_causal(inputs.model)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="diverged"):
        score_rows(model, open_rows(inputs.rows), np.array([0]), 1)
