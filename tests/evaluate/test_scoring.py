from pathlib import Path

import numpy as np
import pytest
import torch

from privllm.core.errors import UserError
from privllm.core.special_tokens import MASK
from privllm.core.tables import read_table, shards_of
from privllm.engine.cache import Cache
from privllm.engine.store import Store
from privllm.evaluate.recipe import EvaluateInputs
from privllm.evaluate.scoring import ChosenRows, ScoredPiece, choose_rows, score, score_rows
from privllm.models.family import FAMILIES
from privllm.models.loading import load
from privllm.models.scorers import PASSES, score_masked_tokens, score_next_tokens
from privllm.tokens.encode import Encoder
from privllm.tokens.rows import open_rows, shards_in

CONTEXT = 16
LOOKED_AT = 120  # tokens of each shard's stream: the loop is slow


def one_by_one(inputs: EvaluateInputs) -> dict[str, float]:
    """Nats of the first test documents of each shard: one forward pass per token over the unpacked stream, the slow and obvious way."""
    model, encoder = load("causal", inputs.model), Encoder.open(inputs.tokenizer)
    nats: dict[str, float] = {}
    for shard in shards_of(inputs.documents):
        table = read_table(shard, ["id", "text", "split"]).sort_by("id")
        stream, owner = [], []
        for row in table.to_pylist():
            if row["split"] == "test":
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


def scored(
    inputs: EvaluateInputs, out: Path, family: str = "causal", batch_rows: int = 8, limit: int = 10**6
) -> list[ScoredPiece]:
    return list(score(family, inputs.model, choose_rows(shards_in(inputs.rows), limit), batch_rows, out))


def test_equals_a_loop_over_the_unpacked_documents(inputs: EvaluateInputs, tmp_path: Path) -> None:
    nats_by_document: dict[str, float] = {}
    for piece in scored(inputs, tmp_path, batch_rows=5):
        nats_by_document[piece.id] = nats_by_document.get(piece.id, 0.0) + float(piece.nats.sum())
    expected = one_by_one(inputs)
    assert len(expected) >= 2
    assert {name: nats_by_document[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_size_does_not_matter(inputs_of, family: str, tmp_path: Path) -> None:
    base, other = (scored(inputs_of(family), tmp_path / str(size), family, size, 12) for size in (1, 1000))
    assert [piece.id for piece in base] == [piece.id for piece in other]
    for name in ("places", "nats"):
        assert np.concatenate([getattr(p, name) for p in base]) == pytest.approx(
            np.concatenate([getattr(p, name) for p in other]), rel=1e-3
        )


@pytest.mark.parametrize("family", ["causal", "masked"])
def test_labels_are_each_document_once(inputs_of, family: str, tmp_path: Path) -> None:
    inputs = inputs_of(family)
    encoder = Encoder.open(inputs.tokenizer)
    pieces: dict[str, list[int]] = {}
    for piece in scored(inputs, tmp_path, family):
        own = pieces.setdefault(piece.id, [])
        assert piece.places.tolist() == list(range(len(own), len(own) + len(piece.labels)))
        own += piece.labels.tolist()
    for shard in shards_of(inputs.documents):
        table = read_table(shard, ["id", "text"])
        for row in table.to_pylist():
            if row["id"] in pieces:
                assert encoder.decode(np.array(pieces.pop(row["id"]))) == row["text"]
    assert not pieces


def test_masked_nats_are_those_of_one_gap_pattern_after_the_other(inputs_of) -> None:
    """The obvious way: hide each third of a row by itself, look at the model's own distribution."""
    inputs = inputs_of("masked")
    model, rows = load("masked", inputs.model), open_rows(inputs.rows)
    row = rows.tokens(0)
    ((places, nats, _),) = score_masked_tokens(model, [row], [5])
    turn = np.random.Generator(np.random.PCG64(5)).permutation(len(row) - 1) % PASSES
    for place, nats_at_place in zip(places, nats, strict=True):
        seen = torch.tensor(np.where(turn == turn[place - 1], MASK, row[1:]))[None].long()
        with torch.inference_mode():
            expected = -model(input_ids=seen).logits[0, place - 1].double().log_softmax(0)[int(row[place])]
        assert nats_at_place == pytest.approx(float(expected), rel=1e-4)


def test_seq2seq_scores_tokens_of_its_spans_only(inputs_of, tmp_path: Path) -> None:
    inputs = inputs_of("seq2seq")
    span_pieces, everything = scored(inputs, tmp_path / "a", "seq2seq"), scored(inputs_of("causal"), tmp_path / "b")
    assert 0.1 < sum(len(p.places) for p in span_pieces) / sum(len(p.places) for p in everything) < 0.25
    token_at = {
        (p.id, int(place)): int(label) for p in everything for place, label in zip(p.places, p.labels, strict=True)
    }
    assert all(
        token_at[p.id, int(place)] == label
        for p in span_pieces
        for place, label in zip(p.places, p.labels, strict=True)
    )


def test_chosen_rows_are_nested_and_ascending(inputs: EvaluateInputs) -> None:
    def rows(limit: int) -> list[tuple[str, int]]:
        return [
            (shard_rows.shard.name, i)
            for shard_rows in choose_rows(shards_in(inputs.rows), limit)
            for i in shard_rows.rows
        ]

    few, more, all_of_them = (rows(limit) for limit in (3, 6, 10**6))
    assert len(few) == 3
    assert set(few) < set(more) < set(all_of_them)
    assert all_of_them == sorted(all_of_them)
    assert len(all_of_them) == sum(bool(open_rows(inputs.rows).pieces(i)) for i in range(len(open_rows(inputs.rows))))


def test_what_was_scored_is_not_scored_again(
    inputs: EvaluateInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(Cache(tmp_path / "cache"), "code")
    chosen = [
        ChosenRows(shard_rows.shard, shard_rows.rows[:2]) for shard_rows in choose_rows(shards_in(inputs.rows), 10**6)
    ]
    first = list(score("causal", inputs.model, chosen, 8, tmp_path / "one", store))
    monkeypatch.setitem(FAMILIES, "causal", None)
    again = list(score("causal", inputs.model, chosen, 8, tmp_path / "two", store))
    assert [p.id for p in again] == [p.id for p in first]
    assert np.array_equal(np.concatenate([p.nats for p in again]), np.concatenate([p.nats for p in first]))


def test_a_diverged_model_is_reported(inputs: EvaluateInputs) -> None:
    model = load("causal", inputs.model)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="diverged"):
        score_rows(score_next_tokens, model, open_rows(inputs.rows), (0,))
