"""What load balancers, Prometheus and counters of tokens ask for."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from privllm.serve.app import chat_app
from privllm.serve.auth import new_token
from privllm.serve.database import Database
from privllm.serve.engine.local import LocalEngine
from privllm.serve.engine.prompting import open_folder
from privllm.serve.engine.remote import RemoteEngine
from tests.serve.fakes import Parrot, completion
from tests.serve.live import live

NAME = "handbook-1"


def test_health_is_open_and_says_when_it_is_over(tmp_path: Path) -> None:
    database, parrot = Database(tmp_path / "p.sqlite"), Parrot("m", "", "x")
    new_token(database, "eva")
    with live(chat_app(parrot, database)) as url:
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        parrot.closed = True
        answer = httpx.get(f"{url}/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "failed"})


def test_figures_need_a_token_and_hold_no_text(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    headers = {"authorization": f"Bearer {new_token(database, 'eva')}"}
    with live(chat_app(Parrot("m", "", "one two"), database)) as url:
        assert httpx.get(f"{url}/metrics").status_code == 401
        asked = {"model": "m", "prompt": "zanzibar"}
        assert httpx.post(f"{url}/v1/completions", json=asked, headers=headers).status_code == 200
        assert httpx.get(f"{url}/secret/path", headers=headers).status_code == 404
        answer = httpx.get(f"{url}/metrics", headers=headers)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'privllm_requests_total{path="/v1/completions",status="200"} 1',
        'privllm_requests_total{path="/metrics",status="401"} 1',
        'privllm_requests_total{path="none",status="404"} 1',
        "privllm_prompt_tokens_total 3",
        "privllm_completion_tokens_total 5",
        "privllm_replies_open 0",
        "privllm_first_piece_seconds_count 1",
        "privllm_reply_seconds_count 1",
    ):
        assert line in answer.text.splitlines()
    assert not any(word in answer.text for word in ("zanzibar", "secret", "eva"))


def test_texts_become_tokens_and_texts_again(exported: Callable[..., Path], tmp_path: Path) -> None:
    engine, prompt_format = LocalEngine.open(exported(tuned=True)), open_folder(exported(tuned=True))[1]
    with live(chat_app(engine, Database(tmp_path / "p.sqlite"))) as url, httpx.Client(base_url=url) as client:
        assert client.get("/health").json() == {"status": "ok"}
        made = client.post("/tokenize", json={"model": NAME, "prompt": "the page"}).json()
        ids = prompt_format.encode(completion("the page"))
        assert made == {"count": len(ids), "max_model_len": 96, "tokens": ids}
        assert client.post("/detokenize", json={"model": NAME, "tokens": ids[1:]}).json() == {"prompt": "the page"}
        chat = client.post("/tokenize", json={"messages": [{"role": "user", "content": "the page"}]}).json()
        assert chat["count"] == len(ids) + 3  # its marks
        for path, body in (
            ("/tokenize", {}),
            ("/tokenize", {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}),
            ("/tokenize", {"prompt": 5}),
            ("/detokenize", {"tokens": ["a"]}),
            ("/detokenize", {"tokens": [10**6]}),
        ):
            assert client.post(path, json=body).status_code == 400
        assert client.post("/tokenize", json={"model": "other", "prompt": "x"}).status_code == 404


@pytest.mark.slow
def test_a_server_before_another_says_how_that_one_is(tmp_path: Path) -> None:
    with live(chat_app(Parrot("m", "", "x"), Database(tmp_path / "back.sqlite"))) as back:
        front, later = (chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite")) for _ in range(2))
        with live(front) as url:
            assert httpx.get(f"{url}/health").status_code == 200
            answer = httpx.post(f"{url}/tokenize", json={"prompt": "x"})
            assert (answer.status_code, "the one behind it" in answer.text) == (501, True)
    with live(later) as url:
        assert httpx.get(f"{url}/health").status_code == 503
