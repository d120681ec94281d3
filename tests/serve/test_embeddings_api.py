"""/v1/embeddings, as the official client uses it."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI, RateLimitError

from privllm.serve.app import chat_app
from privllm.serve.auth import new_token
from privllm.serve.database import Database
from privllm.serve.engine.embedding import EmbeddingEngine
from privllm.serve.engine.local import LocalEngine
from tests.serve.live import live

NAME = "reader-1"
TEXTS = ["the page", "its own row", "naïve façades 🙂"]


@pytest.fixture(scope="module")
def url(exported_masked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = Database(tmp_path_factory.mktemp("embeddings") / "people.sqlite")
    with live(chat_app(EmbeddingEngine.open(exported_masked), database)) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def vectors(exported_masked: Path) -> np.ndarray:
    async def embed() -> np.ndarray:
        engine = EmbeddingEngine.open(exported_masked)
        return await engine.embed(await engine.encode_inputs(TEXTS))

    return asyncio.run(embed())


def test_the_official_client_gets_vectors_in_order(client: OpenAI, vectors: np.ndarray) -> None:
    for encoding in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):  # its own default is base64
        made = client.embeddings.create(model=NAME, input=TEXTS, user="eva", **encoding)  # type: ignore[arg-type]
        assert [entry.index for entry in made.data] == [0, 1, 2]
        given = [entry.embedding for entry in made.data]
        if encoding.get("encoding_format") == "base64":
            given = [np.frombuffer(base64.b64decode(text), "<f4") for text in given]  # type: ignore[misc, arg-type]
        np.testing.assert_allclose(given, vectors, atol=1e-6)
        assert (made.object, made.model, made.data[0].object) == ("list", NAME, "embedding")
    one = client.embeddings.create(model=NAME, input=TEXTS[1], dimensions=32)
    np.testing.assert_allclose(one.data[0].embedding, vectors[1], atol=1e-6)


def test_tokens_are_counted_and_may_be_sent(client: OpenAI, url: str, vectors: np.ndarray) -> None:
    before = _prompt_tokens(url)
    ids = [httpx.post(f"{url}/tokenize", json={"prompt": text}).json()["tokens"] for text in TEXTS]
    by_text, by_ids = (client.embeddings.create(model=NAME, input=given) for given in (TEXTS, ids))
    assert by_text.usage.prompt_tokens == by_text.usage.total_tokens == by_ids.usage.total_tokens == sum(map(len, ids))
    np.testing.assert_allclose([entry.embedding for entry in by_ids.data], vectors, atol=1e-6)
    one = client.embeddings.create(model=NAME, input=ids[2])
    np.testing.assert_allclose(one.data[0].embedding, vectors[2], atol=1e-6)
    assert _prompt_tokens(url) - before == 2 * sum(map(len, ids)) + len(ids[2])


def _prompt_tokens(url: str) -> int:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return int(next(line for line in lines if line.startswith("privllm_prompt_tokens_total")).split()[1])


@pytest.mark.parametrize(
    ("sent", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": ""}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ["x", ""]}, "input[1]", "invalid_value"),
        ({"input": ["x", 5]}, "input", "invalid_type"),
        ({"input": [[]]}, "input", "invalid_value"),
        ({"input": [10**9]}, "input", "invalid_value"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": ["x"] * 2049}, "input", "invalid_value"),
        ({"input": "row " * 500}, "input", "context_length_exceeded"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"input": "x", "dimensions": 16}, "dimensions", "unsupported_value"),
        ({"input": "x", "dimensions": 0}, "dimensions", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(sent: dict[str, Any], param: str, code: str, url: str) -> None:
    answer = httpx.post(f"{url}/v1/embeddings", json={"model": NAME} | sent)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"].startswith(param), error
    assert error["code"] == code, error


def test_the_model_card_says_what_it_gives_and_takes(client: OpenAI, url: str) -> None:
    (card,) = client.models.list().data
    extension = card.model_extra["privllm"]  # type: ignore[index]
    assert (extension["context"], extension["dimensions"], extension["max_inputs"]) == (96, 32, 2048)
    with pytest.raises(NotFoundError):
        client.embeddings.create(model="other", input="x")
    assert httpx.get(url).status_code == 404  # there is no page to chat with it


def test_each_kind_of_model_names_the_other(client: OpenAI, exported: Callable[..., Path], tmp_path: Path) -> None:
    for ask in (
        lambda: client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "x"}]),
        lambda: client.completions.create(model=NAME, prompt="x"),
        lambda: client.completions.create(model=NAME, prompt="x", stream=True),
    ):
        with pytest.raises(BadRequestError, match="privllm serve data/export/causal") as refused:
            ask()
        assert refused.value.code == "unsupported_model"
    with live(chat_app(LocalEngine.open(exported()), Database(tmp_path / "p.sqlite"))) as address:
        writer = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(BadRequestError, match="privllm serve data/export/masked") as refused:
            writer.embeddings.create(model="handbook-1", input="x")
        assert refused.value.code == "unsupported_model"
        assert "dimensions" not in writer.models.list().data[0].model_extra["privllm"]  # type: ignore[index]


def test_a_tokens_limits_count(exported_masked: Path, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    token = new_token(database, "eva", 100, 20)
    with live(chat_app(EmbeddingEngine.open(exported_masked), database)) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key=token, max_retries=0)
        client.embeddings.create(model=NAME, input="the page")
        with pytest.raises(RateLimitError):
            client.embeddings.create(model=NAME, input=TEXTS * 5)
        anonymous = httpx.post(f"{address}/v1/embeddings", json={"model": NAME, "input": "x"})
        assert anonymous.status_code == 401
