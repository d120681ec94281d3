from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from privllm.core.records import GUIDE
from privllm.core.special_tokens import END_OF_TEXT, MASK, PAD, own_ids
from privllm.models.loading import MODELS, build
from privllm.models.masking import MaskingConfig
from privllm.models.vocabulary import IGNORED
from privllm.tokens.copied_tokens import COPIED_TOKENS, CopiedTokens
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import open_rows, write_rows
from privllm.tokens.token_annotations import open_guide
from privllm.train.pretrain_objectives import DAMPING, OBJECTIVES, Packed, Split
from tests.train.tiny_corpus import CONTEXT, VOCABULARY, Corpus, tiny, write_split, write_table_stream

ROWS_OF_DOCUMENTS = 7  # of `packed_documents`, before those of `corpus`
WORDS = {i: f"w{i}".encode() for i in range(VOCABULARY)}


def objective_of(family: str, corpus: Corpus, **changes) -> Packed:
    cfg = getattr(tiny(**changes), family)
    splits = [Split(open_rows(corpus.rows / name), open_guide(corpus.guide / name)) for name in ("train", "validation")]
    return OBJECTIVES[family](
        build(family, cfg.model, own_ids(VOCABULARY), CONTEXT, 0), cfg, *splits, own_ids(VOCABULARY), WORDS
    )


def test_labels_are_the_next_tokens_and_padding_is_ignored(tmp_path, corpus):
    write_split(tmp_path, [[list(range(2, 11)), [2, 1, 3]]], context=8)  # 1 is the padding's id, and here a token
    objective = objective_of("causal", corpus)
    inputs, positions, labels = objective.make(Split(open_rows(tmp_path)), np.array([0, 1]), np.random.default_rng(0))
    assert [inputs.tolist()[0], labels.tolist()[0]] == [list(range(2, 10)), list(range(3, 11))]
    assert [inputs.tolist()[1][:2], labels.tolist()[1]] == [[2, 1], [1, 3] + [IGNORED] * 6]
    assert positions.tolist() == [list(range(8)), [0, 1, *range(6)]]


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize(("epochs", "times"), [(0.99, 0.0), (1.0, 1.0), (2.0, 1.0), (4.0, 3.0), (1000.0, 15.0)])
def test_steps_of_tokens_are_damped_the_more_the_more_often_a_text_is_read(corpus, family, epochs, times):
    """From one epoch on, and of a masked model always; beyond sixteen no more than of sixteen."""
    least = 1.0 if family == "masked" else 0.0
    assert objective_of(family, corpus, epochs=epochs).damping == DAMPING * max(least, times)


@pytest.mark.parametrize("family", MODELS)
def test_a_batch_is_a_function_of_the_step(corpus, family):
    first, second = objective_of(family, corpus), objective_of(family, corpus)
    np.random.seed(1)
    torch.manual_seed(1)
    for step in (0, 7, 3):
        assert all(torch.equal(a, b) for a, b in zip(first.batch(step), second.batch(step), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.batch(0), first.batch(1), strict=True))


def test_a_long_document_is_cut_elsewhere_each_time_it_is_read_again(tmp_path, corpus):
    document = np.arange(2, 2 + 4 * 8, dtype=np.int32)  # its end is a row of its own
    packed = pack_rows([document], pa.array(["long"]), 8, own_ids(0))
    write_rows(packed.input_ids, packed.pieces, 8, tmp_path / "0.arrow")
    objective = objective_of("causal", corpus, batch_size=4)
    objective.train = Split(open_rows(tmp_path))
    assert len(objective.train.rows) == 5
    read = [row for step in range(15) for row in zip(*(part.tolist() for part in objective.batch(step)), strict=True)]
    epochs = [read[begin : begin + 5] for begin in range(0, 60, 5)]
    as_packed = zip(*(part.tolist() for part in objective.make(objective.train, np.arange(5), None)), strict=True)
    assert sorted(epochs[0]) == sorted(as_packed)
    assert len({str(sorted(epoch)) for epoch in epochs}) > 4  # of 8 cuts
    for epoch in epochs:
        learnt = [label for _, _, labels in epoch for label in labels if label != IGNORED]
        assert sorted(learnt) == [0, *document.tolist()]


@pytest.mark.parametrize("family", MODELS)
def test_held_out_batches_do_not_depend_on_the_seed_and_count_every_row_once(corpus, family):
    batches_by_seed = [list(objective_of(family, corpus, seed=seed, batch_size=3).held_out()) for seed in (0, 1)]
    for batch_a, batch_b in zip(*batches_by_seed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch_a, batch_b, strict=True))
    rows = len(open_rows(corpus.rows / "validation"))
    assert sum(int((batch[-1] != IGNORED).any(1).sum()) for batch in batches_by_seed[0]) == rows


@pytest.mark.parametrize("family", MODELS)
def test_padding_has_no_say_and_a_batch_is_the_sum_of_its_rows(corpus, family):
    """The last row of the corpus is short; with the others it is padded, alone it is not."""
    objective = objective_of(family, corpus)
    objective.model.eval()
    rows = objective.train.rows
    indices = np.array([len(rows) - 1, 0, 5])
    together = objective.make(objective.train, indices, np.random.default_rng(0))
    with torch.no_grad():
        whole = objective.loss(together, "sum")
        alone = sum(objective.loss(tuple(part[n : n + 1] for part in together), "sum") for n in range(3))
        assert torch.allclose(whole, alone, rtol=1e-4)
        padded = tuple(part[:1] for part in together)
        cut_off = chunks_of(padded, family)[0]
        assert sum(part.shape[1] for part in cut_off) < sum(part.shape[1] for part in padded)
        assert torch.allclose(objective.loss(cut_off, "sum"), objective.loss(padded, "sum"), rtol=1e-4)
    assert objective.labels(together) == int((together[-1] != IGNORED).sum())


def chunks_of(batch: tuple[torch.Tensor, ...], family: str) -> list[tuple[torch.Tensor, ...]]:
    """Cut a batch into batches of one chunk each, those of padding left out."""
    cut: list[tuple[torch.Tensor, ...]] = []
    for row in zip(*batch, strict=True):
        if family == "seq2seq":
            inputs, chunks, decoder_inputs, decoder_chunks, labels = row
            for number in range(1, int(chunks.max()) + 1):
                is_read, is_written = chunks == number, decoder_chunks == number
                ones = torch.ones(1, 1, dtype=torch.int64)
                read = (inputs[is_read][None], ones.expand(1, int(is_read.sum())))
                written = (decoder_inputs[is_written][None], ones.expand(1, int(is_written.sum())))
                cut.append((*read, *written, labels[is_written][None]))
        else:
            starts = (row[1] == 0).nonzero().flatten().tolist()
            for begin, end in pairwise([*starts, len(row[1])]):
                cut.append(tuple(part[begin:end][None] for part in row))
    return [chunk for chunk in cut if (chunk[-1] != IGNORED).any()]


@pytest.fixture
def packed_documents(tmp_path) -> Split:
    """Rows of documents of many lengths, one longer than a row, one of which only the end remains; a guide without words."""
    lengths = [5, 3, 20, 1, 9, 2, CONTEXT * 2, 4, 7, 11]
    rng = np.random.default_rng(3)
    documents = [rng.integers(6, VOCABULARY, length).astype(np.int32) for length in lengths]
    packed = pack_rows(
        documents, pa.array([f"d{i}" for i in range(len(lengths))], pa.string()), CONTEXT, own_ids(VOCABULARY)
    )
    write_rows(packed.input_ids, packed.pieces, CONTEXT, tmp_path / "pack/train/00000.arrow")
    nothing = pa.array([[]] * len(packed.input_ids), GUIDE.field("pos").type)
    no_spans = pa.array([[]] * len(packed.input_ids), GUIDE.field("span").type)
    write_table_stream(pa.table([nothing, no_spans], schema=GUIDE), tmp_path / "guide/train/00000.arrow")
    return Split(open_rows(tmp_path / "pack/train"), open_guide(tmp_path / "guide/train"))


@pytest.mark.parametrize("family", MODELS)
def test_copied_tokens_are_read_and_are_no_labels(corpus, packed_documents, family):
    """Here the copied ones are those from number 20 on, so that a label tells whether it is one."""
    indices = np.arange(ROWS_OF_DOCUMENTS)
    spans = []
    for index in indices.tolist():
        tokens = packed_documents.rows.tokens(index)
        for piece in packed_documents.rows.pieces(index):
            shift = piece["document_start"] - piece["row_start"]
            for place in range(piece["row_start"], piece["row_start"] + piece["tokens"]):
                if tokens[place] >= 20:
                    spans.append({"id": piece["id"], "begin": place + shift, "end": place + shift + 1})
    copied = CopiedTokens(pa.Table.from_pylist(spans, COPIED_TOKENS))
    objective = objective_of(family, corpus)
    if family == "masked":
        objective.cfg.masking = MaskingConfig(rate=0.9)
    *read, labels = objective.make(packed_documents, indices, np.random.default_rng(1))
    *still_read, clean_labels = objective.make(
        packed_documents._replace(copied=copied), indices, np.random.default_rng(1)
    )
    assert all(torch.equal(a, b) for a, b in zip(read, still_read, strict=True))
    is_copied = (labels >= 20) & (labels < VOCABULARY)
    assert 0 < int(is_copied.sum()) < int((labels != IGNORED).sum())
    assert clean_labels.tolist() == labels.masked_fill(is_copied, IGNORED).tolist()


def test_held_out_rows_are_those_with_a_token_that_counts(corpus, packed_documents):
    """The two longest documents are copied: one fills a row, the other two and has its end elsewhere."""
    objective = objective_of("causal", corpus)
    whole = [{"id": "d2", "begin": 0, "end": 20}, {"id": "d6", "begin": 0, "end": 2 * CONTEXT}]
    copied = CopiedTokens(pa.Table.from_pylist(whole, COPIED_TOKENS))
    objective.validation = packed_documents._replace(copied=copied)
    rows = packed_documents.rows
    expected = [index for index in range(len(rows)) if {piece["id"] for piece in rows.pieces(index)} - {"d2", "d6"}]
    assert objective.held_out_rows.tolist() == expected == list(range(3, len(rows)))
    batches = [*objective.held_out(), *objective.held_out(rest=True)]
    labels = torch.cat([batch[-1] for batch in batches])
    assert int((labels != IGNORED).any(1).sum()) == len(expected)


@pytest.mark.parametrize("family", MODELS)
def test_loss_and_gradients_of_packed_rows_are_those_of_the_documents_one_by_one(corpus, packed_documents, family):
    objective = objective_of(family, corpus)
    if family == "masked":
        objective.cfg.masking = MaskingConfig(rate=0.6)
    model = objective.model.eval()
    with torch.no_grad():  # a fresh model's blocks are the identity, and see nobody
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    row_count = len(packed_documents.rows)
    batch = objective.make(packed_documents, np.arange(row_count), np.random.default_rng(1))
    chunks = chunks_of(batch, family)
    assert len(chunks) > row_count

    def loss_and_gradients(batches: list[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        model.zero_grad()
        loss = sum(objective.loss(part, "sum") for part in batches)
        loss.backward()
        return loss.detach(), [parameter.grad.clone() for parameter in model.parameters()]

    packed_loss, packed_gradients = loss_and_gradients([batch])
    loss, gradients = loss_and_gradients(chunks)
    assert torch.allclose(packed_loss, loss, rtol=1e-5)
    for packed_gradient, gradient in zip(packed_gradients, gradients, strict=True):
        assert torch.allclose(packed_gradient, gradient, rtol=1e-3, atol=1e-4)


def test_the_end_of_each_document_is_learnt_and_nothing_of_the_next(corpus, packed_documents):
    """Also of one that the rest of a longer document follows, which begins with a token of its own."""
    inputs, positions, labels = objective_of("causal", corpus).make(
        packed_documents, np.arange(len(packed_documents.rows)), np.random.default_rng(0)
    )
    assert int((labels == END_OF_TEXT).sum()) == 10
    follows = (positions[:, 1:] == 0) & (labels[:, 1:] != IGNORED)
    assert (labels[:, :-1][follows] == END_OF_TEXT).all()
    assert (inputs[:, 1:][follows] != END_OF_TEXT).any()


def test_masked_labels_are_what_was_covered(corpus):
    objective = objective_of("masked", corpus)
    inputs, positions, labels = objective.batch(0)
    rows = [objective.train.rows.tokens(int(i)) for i in range(len(objective.train.rows))]
    seen = (positions == 0).cumsum(1) == 1  # each row is one document, and padding
    for line, real, wanted in zip(inputs.numpy(), seen.numpy(), labels.numpy(), strict=True):
        text = np.where(wanted == IGNORED, line, wanted)[real]
        assert any(np.array_equal(text, row[: len(text)]) for row in rows)
        assert (line[wanted == IGNORED] != MASK)[real[wanted == IGNORED]].all()
    assert (inputs == MASK).any()
    assert (inputs[~seen] == PAD).all()


def test_masked_loss_is_that_of_the_whole_models_logits(corpus):
    objective = objective_of("masked", corpus)
    objective.model.eval()
    inputs, positions, labels = objective.batch(0)
    seen = (positions == 0).cumsum(1) == 1
    logits = objective.model(input_ids=inputs, attention_mask=seen).logits
    is_label = labels != IGNORED
    assert torch.allclose(
        objective.loss((inputs, positions, labels)), F.cross_entropy(logits[is_label], labels[is_label]), atol=1e-5
    )


def test_spans_put_back_give_the_text(corpus):
    objective = objective_of("seq2seq", corpus)
    inputs, chunks, decoder_inputs, _, labels = objective.batch(0)
    seen = chunks > 0
    rows = {tuple(objective.train.rows.tokens(i)[:-1]) for i in range(len(objective.train.rows))}
    for line, real, wanted in zip(inputs.numpy(), seen.numpy(), labels.numpy(), strict=True):
        written = wanted[wanted != IGNORED]
        assert written[-1] == END_OF_TEXT
        holes = {
            int(part[0]): part[1:] for part in np.split(written[:-1], np.flatnonzero(written[:-1] >= VOCABULARY))[1:]
        }
        text: list[int] = []
        for token in line[real].tolist():
            text += holes[token].tolist() if token >= VOCABULARY else [token]
        assert tuple(text) in rows
    shifted = objective.model.prepare_decoder_input_ids_from_labels(labels)
    assert torch.equal(decoder_inputs, shifted.masked_fill(labels == IGNORED, PAD))
