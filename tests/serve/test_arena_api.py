import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from privllm.serve.app import arena_app
from privllm.serve.auth import new_token
from privllm.serve.database import Database
from tests.serve.fakes import Parrot
from tests.serve.live import live
from tests.workshop import ROOT

OLD, NEW = "a1" * 20, "b2" * 20
DECODING = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 20, "seed": 7}
ASKED = {"messages": [{"role": "user", "content": "which?"}], "decoding": DECODING}


def parrots(pause: float = 0.0) -> list[Parrot]:
    return [Parrot("old-model", OLD, "one two", pause), Parrot("new-model", NEW, "three four five", pause)]


def play(url: str, client: httpx.Client) -> tuple[str, dict[str, str], bytes]:
    """(match, {side: text}, the bytes) of a match."""
    answer = client.post(f"{url}/api/match", json=ASKED)
    assert answer.status_code == 200
    lines = [json.loads(line) for line in answer.content.splitlines()]
    texts = {"left": "", "right": ""}
    for line in lines:
        if "text" in line:
            texts[line["side"]] += line["text"]
    assert sum(line.get("end", False) for line in lines) == 2
    return lines[0]["match"], texts, answer.content


def test_no_byte_before_the_vote_names_a_model(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(arena_app(parrots(), database)) as url, httpx.Client() as client:
        responses, sides = [], set()
        responses += [
            client.get(url + path).content
            for path in ("/", "/api/page", "/static/arena.js", "/static/style.css", "/v1/models")
        ]
        for _ in range(12):
            match, texts, content = play(url, client)
            responses.append(content)
            responses.append(client.post(f"{url}/api/match/{match}/vote", json={"choice": "neither"}).content)
            sides.add(texts["left"])
        assert len(sides) == 2
        everything = b"".join(responses)
        for secret in (
            b"old-model",
            b"new-model",
            OLD[:7].encode(),
            NEW[:7].encode(),
            b"digest-of",
            b"completion_tokens",
        ):
            assert secret not in everything
        result = client.post(
            f"{url}/api/match/{match}/vote", json={"choice": "left", "rater": " eva  k ", "reason": "why"}
        ).json()
        assert {result["left"]["revision"], result["right"]["revision"]} == {OLD, NEW}
        (vote,) = database.votes()
        assert (vote.id, vote.rater, vote.choice, vote.reason, vote.messages[0].content) == (
            match,
            "eva k",
            "left",
            "why",
            "which?",
        )
        assert {"left": vote.left.text, "right": vote.right.text} == texts
        assert vote.left.model.name == ("old-model" if texts["left"] == "one two " else "new-model")
        assert vote.decoding.seed == 7
        assert [row["wins"] for row in result["ranking"]] == [1, 0]


def test_a_match_takes_one_vote_and_only_when_it_has_ended(tmp_path: Path) -> None:
    with live(arena_app(parrots(0.05), Database(tmp_path / "p.sqlite"))) as url, httpx.Client() as client:
        with client.stream("POST", f"{url}/api/match", json=ASKED) as answer:
            match = json.loads(next(answer.iter_lines()))["match"]
            assert client.post(f"{url}/api/match/{match}/vote", json={"choice": "left"}).status_code == 409
        ended, _, _ = play(url, client)
        statuses = [client.post(f"{url}/api/match/{ended}/vote", json={"choice": "tie"}).status_code for _ in range(2)]
        assert statuses == [200, 404]
        assert client.post(f"{url}/api/match/{'0' * 32}/vote", json={"choice": "tie"}).status_code == 404


def test_a_match_belongs_to_the_token_that_asked_for_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    eva, adam = ({"authorization": f"Bearer {new_token(database, name)}"} for name in ("eva", "adam"))
    with (
        live(arena_app(parrots(), database)) as url,
        httpx.Client(headers=eva) as hers,
        httpx.Client(headers=adam) as his,
    ):
        (first, _, _), (second, _, _) = play(url, hers), play(url, his)
        for match, stranger, asker, name in ((first, his, hers, "eva"), (second, hers, his, "adam")):
            refused = stranger.post(f"{url}/api/match/{match}/vote", json={"choice": "left", "rater": name})
            assert refused.status_code == 404
            assert b"-model" not in refused.content, "nor is it told who spoke"
            assert httpx.post(f"{url}/api/match/{match}/vote", json={"choice": "left"}).status_code == 401
            assert name not in {vote.rater for vote in database.votes()}
            assert asker.post(f"{url}/api/match/{match}/vote", json={"choice": "right"}).status_code == 200
    assert [(vote.id, vote.rater, vote.choice) for vote in database.votes()] == [
        (first, "eva", "right"),
        (second, "adam", "right"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [], "decoding": DECODING},
        {"messages": ASKED["messages"]},
        ASKED | {"decoding": DECODING | {"seed": "x"}},
        ASKED | {"x": 1},
    ],
)
def test_what_is_no_match_is_refused(body: dict, tmp_path: Path) -> None:
    with live(arena_app(parrots(), Database(tmp_path / "p.sqlite"))) as url:
        assert httpx.post(f"{url}/api/match", json=body).status_code == 400


@pytest.mark.slow
def test_kill_during_votes_loses_none_that_was_answered(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.serve.fakes", str(tmp_path / "p.sqlite")]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    url = server.stdout.readline().strip().rstrip("/")
    answered: list[str] = []

    def vote_on(_: int) -> None:
        with httpx.Client() as client:
            while True:
                try:
                    match, _, _ = play(url, client)
                    if client.post(f"{url}/api/match/{match}/vote", json={"choice": "right"}).status_code == 200:
                        answered.append(match)
                except (httpx.HTTPError, AssertionError):
                    return
                if len(answered) == 40:
                    server.kill()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(vote_on, range(6)))
    server.wait(10)
    assert len(answered) >= 40
    assert {vote.id for vote in Database(tmp_path / "p.sqlite").votes()} >= set(answered)


def test_a_vote_is_taken_back_and_stays_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(arena_app(parrots(), database)) as url, httpx.Client() as client:
        match, _, _ = play(url, client)
        other, _, _ = play(url, client)
        place = f"{url}/api/match/{match}/vote"
        assert client.delete(place).status_code == 404  # there is none yet, and the match goes on
        for identifier in (match, other):
            voted = client.post(f"{url}/api/match/{identifier}/vote", json={"choice": "left", "rater": "eva"}).json()
        assert sum(row["wins"] for row in voted["ranking"]) == 2
        taken = client.delete(place).json()
        assert (taken["taken_back"], sum(row["wins"] for row in taken["ranking"])) == (True, 1)
        assert [vote.id for vote in database.votes()] == [other]
        assert client.delete(place).status_code == 404
        again = client.post(place, json={"choice": "right"})  # its models were named
        assert again.status_code == 404
        foreign = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        assert client.delete(f"{url}/api/match/{other}/vote", headers=foreign).status_code == 403
        assert len(database.votes()) == 1


def test_a_token_takes_back_its_own_votes_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    eva, ada = ({"authorization": f"Bearer {new_token(database, name)}"} for name in ("eva", "ada"))
    with live(arena_app(parrots(), database)) as url, httpx.Client(headers=eva) as client:
        match, _, _ = play(url, client)
        place = f"{url}/api/match/{match}/vote"
        assert client.post(place, json={"choice": "tie"}).status_code == 200
        assert httpx.delete(place).status_code == 401
        assert httpx.delete(place, headers=ada).status_code == 404
        assert len(database.votes()) == 1
        assert client.delete(place).json()["ranking"] == []
        assert database.votes() == []
