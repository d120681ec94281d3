from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, MASK, SpecialIds, own_ids
from privllm.core.tables import read_table
from privllm.engine.cache import Cache
from privllm.engine.store import Store
from privllm.evaluate import scoring
from privllm.evaluate.held_out import choose_documents
from privllm.evaluate.recipe import EvaluateInputs
from privllm.evaluate.scoring import ModelFiles, ScoredDocument, score, score_streams
from privllm.evaluate.windows import stream_of
from privllm.models.family import FAMILIES
from privllm.models.loading import load
from privllm.models.scorers import PASSES, score_masked_tokens
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import special_ids
from privllm.tokens.trained_documents import TRAINED

CONTEXT = 16
InputsOf = Callable[[str], EvaluateInputs]


def texts_of(inputs: EvaluateInputs, max_bytes: int = 10**6) -> dict[str, str]:
    chosen = choose_documents(inputs.documents, max_bytes, TRAINED.empty_table())
    texts = {}
    for shard, ids in chosen.ids_by_shard.items():
        for row in read_table(shard, ["id", "text"]).to_pylist():
            if row["id"] in ids:
                texts[row["id"]] = row["text"]
    return texts


def scored(
    inputs: EvaluateInputs, out: Path, family: str = "causal", batch_rows: int = 8, max_bytes: int = 10**6
) -> list[ScoredDocument]:
    chosen = choose_documents(inputs.documents, max_bytes, TRAINED.empty_table())
    files = ModelFiles(family, inputs.model, inputs.tokenizer)
    return list(score(files, chosen.ids_by_shard, batch_rows, out))


def test_equals_a_loop_over_the_tokens_of_each_document(inputs: EvaluateInputs, tmp_path: Path) -> None:
    """The slow and obvious way: one forward pass a token, over what lies before it in the first window that holds it."""
    model, encoder, texts = load("causal", inputs.model), Encoder.open(inputs.tokenizer), texts_of(inputs)
    compared = 0
    for document in scored(inputs, tmp_path, batch_rows=5)[:6]:
        stream = [END_OF_TEXT, *encoder.encode([texts[document.id]])[0].tolist(), END_OF_TEXT]
        assert document.labels.tolist() == stream[1:]
        for place, nats, correct in zip(document.places, document.nats, document.correct, strict=True):
            label = place + 1  # in the stream
            begin = 0
            while label > begin + CONTEXT:
                begin += CONTEXT // 2
            with torch.inference_mode():
                logits = model(torch.tensor([stream[begin:label]])).logits[0, -1].double()
            assert nats == pytest.approx(-float(logits.log_softmax(0)[stream[label]]), rel=1e-4)
            assert correct == (int(logits.argmax()) == stream[label])
            compared += begin > 0
    assert compared > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_size_does_not_matter(inputs_of: InputsOf, family: str, tmp_path: Path) -> None:
    base, other = (scored(inputs_of(family), tmp_path / str(size), family, size, max_bytes=900) for size in (1, 1000))
    assert [document.id for document in base] == [document.id for document in other]
    for name in ("places", "nats"):
        assert np.concatenate([getattr(p, name) for p in base]) == pytest.approx(
            np.concatenate([getattr(p, name) for p in other]), rel=1e-3
        )


@pytest.mark.parametrize("family", ["causal", "masked"])
def test_labels_are_each_document_once_and_its_end(inputs_of: InputsOf, family: str, tmp_path: Path) -> None:
    inputs = inputs_of(family)
    encoder, texts = Encoder.open(inputs.tokenizer), texts_of(inputs)
    for document in scored(inputs, tmp_path, family):
        assert document.places.tolist() == list(range(len(document.labels)))
        assert document.labels[-1] == END_OF_TEXT
        assert encoder.decode(document.labels[:-1]) == texts.pop(document.id)
    assert not texts


def test_masked_nats_are_those_of_one_gap_pattern_after_the_other(inputs_of: InputsOf) -> None:
    """The obvious way: hide each third of a row by itself, look at the model's own distribution."""
    inputs = inputs_of("masked")
    model = load("masked", inputs.model)
    (text, *_) = texts_of(inputs).values()
    special = special_ids(inputs.tokenizer)
    row = stream_of(Encoder.open(inputs.tokenizer).encode([text])[0], special)[: CONTEXT + 1]
    ((places, nats, _),) = score_masked_tokens(model, special, [row], [5])
    turn = np.random.Generator(np.random.PCG64(5)).permutation(len(row) - 1) % PASSES
    for place, nats_at_place in zip(places, nats, strict=True):
        seen = torch.tensor(np.where(turn == turn[place - 1], MASK, row[1:]))[None].long()
        with torch.inference_mode():
            expected = -model(input_ids=seen).logits[0, place - 1].double().log_softmax(0)[int(row[place])]
        assert nats_at_place == pytest.approx(float(expected), rel=1e-4)


def test_seq2seq_scores_tokens_of_its_spans_only(inputs_of: InputsOf, tmp_path: Path) -> None:
    spans, everything = (
        scored(inputs_of("seq2seq"), tmp_path / "a", "seq2seq"),
        scored(inputs_of("causal"), tmp_path / "b"),
    )
    assert 0.1 < sum(len(p.places) for p in spans) / sum(len(p.places) for p in everything) < 0.25
    for of_spans, whole in zip(spans, everything, strict=True):
        assert of_spans.id == whole.id
        assert (np.diff(of_spans.places) > 0).all()
        assert of_spans.labels.tolist() == whole.labels[of_spans.places].tolist()


def test_an_edit_scores_its_own_shard_again(
    inputs: EvaluateInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(Cache(tmp_path / "cache"), "code")
    chosen = choose_documents(inputs.documents, 900, TRAINED.empty_table()).ids_by_shard
    files = ModelFiles("causal", inputs.model, inputs.tokenizer)
    first = list(score(files, chosen, 8, tmp_path / "one", store))
    ran: list[str] = []
    score_streams_before = scoring.score_streams

    def counted(
        family: str, model: torch.nn.Module, special: SpecialIds, streams: dict, batch_rows: int
    ) -> list[ScoredDocument]:
        ran.extend(streams)
        return score_streams_before(family, model, special, streams, batch_rows)

    monkeypatch.setattr(scoring, "score_streams", counted)
    again = list(score(files, chosen, 8, tmp_path / "two", store))
    assert not ran
    assert [p.id for p in again] == [p.id for p in first]
    assert np.array_equal(np.concatenate([p.nats for p in again]), np.concatenate([p.nats for p in first]))
    (shard, ids), *_ = chosen.items()
    list(score(files, chosen | {shard: ids[1:]}, 8, tmp_path / "three", store))
    assert ran == ids[1:]


def test_a_diverged_model_is_reported(inputs: EvaluateInputs) -> None:
    model = load("causal", inputs.model)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(UserError, match=r"document d .* diverged"):
        score_streams("causal", model, own_ids(9), {"d": stream_of(np.array([5, 6]), own_ids(9))}, 8)
