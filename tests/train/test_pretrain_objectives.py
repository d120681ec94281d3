import numpy as np
import pytest
import torch
from torch.nn import functional as F

from privllm.core.special_tokens import END_OF_TEXT, MASK, PAD
from privllm.models.loading import MODELS, build
from privllm.models.vocabulary import IGNORED
from privllm.tokens.rows import open_rows
from privllm.tokens.token_annotations import open_guide
from privllm.train.pretrain_objectives import OBJECTIVES, Packed, Split
from tests.train.tiny_corpus import CONTEXT, VOCABULARY, Corpus, tiny, write_split

WORDS = {f"w{i}": i for i in range(VOCABULARY)}


def objective_of(family: str, corpus: Corpus, **changes) -> Packed:
    cfg = getattr(tiny(**changes), family)
    splits = [Split(open_rows(corpus.rows / name), open_guide(corpus.guide / name)) for name in ("train", "validation")]
    return OBJECTIVES[family](build(family, cfg.model, VOCABULARY, CONTEXT, 0), cfg, *splits, WORDS)


def test_labels_are_the_next_tokens_and_padding_is_ignored(tmp_path, corpus):
    write_split(tmp_path, [[list(range(2, 11)), [2, 1, 3]]], context=8)  # 1 is the padding's id, and here a token
    objective = objective_of("causal", corpus)
    inputs, labels = objective.make(Split(open_rows(tmp_path)), np.array([0, 1]), np.random.default_rng(0))
    assert [inputs.tolist()[0], labels.tolist()[0]] == [list(range(2, 10)), list(range(3, 11))]
    assert [inputs.tolist()[1][:2], labels.tolist()[1]] == [[2, 1], [1, 3] + [IGNORED] * 6]


@pytest.mark.parametrize("family", MODELS)
def test_a_batch_is_a_function_of_the_step(corpus, family):
    first, second = objective_of(family, corpus), objective_of(family, corpus)
    np.random.seed(1)
    torch.manual_seed(1)
    for step in (0, 7, 3):
        assert all(torch.equal(a, b) for a, b in zip(first.batch(step), second.batch(step), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.batch(0), first.batch(1), strict=True))


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
        lengths = [len(rows.tokens(int(i))) for i in indices]
        alone = sum(objective.loss(tuple(part[n : n + 1] for part in together), "sum") for n in range(3))
        assert torch.allclose(whole, alone, rtol=1e-4)
        if family == "masked":  # cut the padding off instead of masking it
            short = tuple(part[:1, : lengths[0]] for part in together)
            assert torch.allclose(
                objective.loss(short, "sum"), objective.loss(tuple(part[:1] for part in together), "sum"), rtol=1e-4
            )
    assert objective.labels(together) == int((together[-1] != IGNORED).sum())


def test_masked_labels_are_what_was_covered(corpus):
    objective = objective_of("masked", corpus)
    inputs, seen, labels = objective.batch(0)
    rows = [objective.train.rows.tokens(int(i)) for i in range(len(objective.train.rows))]
    for line, real, wanted in zip(inputs.numpy(), seen.numpy(), labels.numpy(), strict=True):
        text = np.where(wanted == IGNORED, line, wanted)[real]
        assert any(np.array_equal(text, row[: len(text)]) for row in rows)
        assert (line[wanted == IGNORED] != MASK)[real[wanted == IGNORED]].all()
    assert (inputs == MASK).any()
    assert (inputs[~seen] == PAD).all()


def test_masked_loss_is_that_of_the_whole_models_logits(corpus):
    objective = objective_of("masked", corpus)
    objective.model.eval()
    inputs, seen, labels = objective.batch(0)
    logits = objective.model(input_ids=inputs, attention_mask=seen).logits
    is_label = labels != IGNORED
    assert torch.allclose(
        objective.loss((inputs, seen, labels)), F.cross_entropy(logits[is_label], labels[is_label]), atol=1e-5
    )


def test_spans_put_back_give_the_text(corpus):
    objective = objective_of("seq2seq", corpus)
    inputs, seen, labels = objective.batch(0)
    rows = {tuple(objective.train.rows.tokens(i)[:CONTEXT]) for i in range(len(objective.train.rows))}
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
