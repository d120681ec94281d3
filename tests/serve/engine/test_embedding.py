"""Embeddings beside a slow and obvious way: transformers, one text at a time."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from privllm.core.errors import UserError
from privllm.serve.engine.base import Embedder, RequestRefused
from privllm.serve.engine.embedding import EmbeddingEngine
from privllm.serve.engine.embedding_folder import open_embedding_folder
from privllm.serve.engine.local import LocalEngine
from tests.serve.fakes import completion

WORDS = "the store keeps every row in a page of its own and rows, naïve façades 🙂".split()
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=1 + seed % 12)) for seed in range(40)]
ROUNDING = 2e-6


@asynccontextmanager
async def running(folder: Path, *sizes: int) -> AsyncIterator[EmbeddingEngine]:
    engine = EmbeddingEngine.open(folder, "", *sizes)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def embedded(folder: Path, texts: Sequence[Any], *sizes: int) -> np.ndarray:
    async def main() -> np.ndarray:
        async with running(folder, *sizes) as engine:
            return await engine.embed(await engine.encode_inputs(texts))

    return asyncio.run(main())


@torch.inference_mode()
def slow_masked(folder: Path, text: str) -> np.ndarray:
    """The mean of the text's own tokens, between two marks, at length 1."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    mark = tokenizer.eos_token_id
    ids = [mark, *tokenizer(text, add_special_tokens=False)["input_ids"], mark]
    hidden = AutoModel.from_pretrained(folder, dtype="float32").eval()(torch.tensor([ids])).last_hidden_state[0, 1:-1]
    mean = hidden.mean(0)
    return (mean / mean.norm()).numpy()


def test_a_masked_export_embeds_as_the_slow_way(exported_masked: Path) -> None:
    vectors = embedded(exported_masked, TEXTS[:12])
    slow = [slow_masked(exported_masked, text) for text in TEXTS[:12]]
    np.testing.assert_allclose(vectors, slow, atol=ROUNDING)
    assert len(np.unique(vectors.round(3), axis=0)) == len(set(TEXTS[:12]))  # or the comparison would say nothing


def test_a_text_alone_has_the_vector_that_it_has_among_others(exported_masked: Path) -> None:
    together = embedded(exported_masked, TEXTS, 7)
    for index in (0, 11, 25, 39):
        np.testing.assert_allclose(embedded(exported_masked, [TEXTS[index]])[0], together[index], atol=ROUNDING)


@pytest.mark.parametrize("steps", [("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")])
@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token", "max_tokens", "lasttoken"])
def test_a_sentence_model_embeds_as_its_folder_says(
    steps: tuple[str, ...], mode: str, sentence_folder: Callable[..., Path]
) -> None:
    folder = sentence_folder(*steps, **{mode: True})
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    slow = []
    for text in TEXTS[:9]:
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vector = {"mean_tokens": hidden.mean(0), "cls_token": hidden[0], "max_tokens": hidden.amax(0)}.get(
            mode, hidden[-1]
        )
        slow.append((vector / vector.norm() if len(steps) == 3 else vector).numpy())
    np.testing.assert_allclose(embedded(folder, TEXTS[:9]), slow, atol=ROUNDING)


def test_tokens_are_taken_as_the_model_reads_them(exported_masked: Path) -> None:
    async def main() -> None:
        async with running(exported_masked) as engine:
            ids = await engine.encode(completion(TEXTS[5]))
            assert await engine.encode_inputs([TEXTS[5], tuple(ids)]) == [ids, ids]
            assert await engine.decode(ids[1:-1]) == TEXTS[5]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("inputs", "param", "code"),
    [
        ([""], "input", "invalid_value"),
        (["the", ""], "input[1]", "invalid_value"),
        ([()], "input", "invalid_value"),
        (["the " * 500], "input", "context_length_exceeded"),
        ([(10**6,)], "input", "invalid_value"),
        ([(-1,)], "input", "invalid_value"),
    ],
)
def test_what_cannot_be_read_is_refused(inputs: list[Any], param: str, code: str, exported_masked: Path) -> None:
    with pytest.raises(RequestRefused) as refused:
        embedded(exported_masked, inputs)
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, code)


def test_as_many_tokens_as_the_model_sees_and_no_more(exported_masked: Path) -> None:
    context = open_embedding_folder(exported_masked).context
    assert np.isfinite(embedded(exported_masked, [tuple([30] * context)])).all()
    with pytest.raises(RequestRefused, match=f"{context + 1} tokens, and this model sees {context} at once"):
        embedded(exported_masked, [tuple([30] * (context + 1))])


def test_requests_beyond_the_queue_are_refused_and_a_failed_one_is_not_the_last(
    exported_masked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(exported_masked, 1, 1) as engine:
            texts = await engine.encode_inputs(["the page"])
            made = await asyncio.gather(*(engine.embed(texts) for _ in range(4)), return_exceptions=True)
            refused = [one for one in made if isinstance(one, RequestRefused)]
            assert [(one.status, one.retry_after) for one in refused] == [(429, 2.0)] * 2
            with monkeypatch.context() as patched:
                patched.setattr(engine, "_embed", lambda ids: (_ for _ in ()).throw(MemoryError("no memory")))
                with pytest.raises(RequestRefused, match="the model failed") as failed:
                    await engine.embed(texts)
                assert failed.value.status == 500
            assert (await engine.embed(texts)).shape == (1, 32)
            assert await engine.healthy()
        assert not await engine.healthy()

    asyncio.run(main())


def test_it_writes_nothing_and_only_it_embeds(exported_masked: Path, exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported_masked) as engine:
            assert isinstance(engine, Embedder)
            for refused in (engine.count_tokens(completion("x")), anext(engine.stream(completion("x")))):  # type: ignore[arg-type]
                with pytest.raises(RequestRefused, match="writes none: `privllm serve data/export/causal`"):
                    await refused  # type: ignore[misc]
        assert not isinstance(LocalEngine.open(exported()), Embedder)

    asyncio.run(main())


def test_a_model_that_reads_padding_is_not_served(exported_masked: Path) -> None:
    opened = open_embedding_folder(exported_masked)
    plain = opened.model.forward
    opened.model.forward = lambda input_ids, attention_mask: plain(input_ids=input_ids)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="in a batch this model gives other embeddings"):
        EmbeddingEngine(opened)
