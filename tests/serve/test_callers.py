"""Which names, addresses and web sites may call."""

from pathlib import Path

import httpx
import pytest

from privllm.core.errors import UserError
from privllm.serve.app import chat_app
from privllm.serve.callers import LOCAL_HOSTS, Callers, callers_of
from privllm.serve.database import Database
from tests.serve.fakes import Parrot
from tests.serve.live import live

APP = "https://app.example"
ASKED = {"model": "m", "prompt": "x"}


def test_a_web_site_that_was_allowed_is_told_so_and_no_other(tmp_path: Path) -> None:
    callers = callers_of(LOCAL_HOSTS, [], "", [APP, "http://localhost:3000"])
    with live(chat_app(Parrot("m", "", "x"), Database(tmp_path / "p.sqlite"), callers)) as url:
        for origin, site, allowed in (
            (APP, "cross-site", True),
            ("http://localhost:3000", "same-site", True),
            ("https://other.example", "cross-site", False),
            ("https://app.example:444", "cross-site", False),
            ("http://[", "cross-site", False),
        ):
            headers = {"origin": origin, "sec-fetch-site": site}
            wanted = headers | {
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,content-type,x-stainless-os",
            }
            may = httpx.options(f"{url}/v1/completions", headers=wanted)
            assert may.status_code == (204 if allowed else 403)
            assert may.headers.get("access-control-allow-origin") == (origin if allowed else None)
            sent = httpx.post(f"{url}/v1/completions", json=ASKED, headers=headers)
            assert sent.status_code == (200 if allowed else 403)
            read = httpx.get(f"{url}/v1/models", headers=headers)
            assert read.headers.get("access-control-allow-origin") == (origin if allowed else None)
            if allowed:
                assert "x-stainless-os" in may.headers["access-control-allow-headers"]
                assert sent.headers["vary"] == "origin"
                assert sent.headers["cross-origin-resource-policy"] == "cross-origin"
        both = [("origin", APP), ("origin", "https://other.example")]
        assert httpx.post(f"{url}/v1/completions", json=ASKED, headers=both).status_code == 403
        own = httpx.post(f"{url}/v1/completions", json=ASKED, headers={"origin": url, "sec-fetch-site": "same-origin"})
        assert (own.status_code, "access-control-allow-origin" in own.headers) == (200, False)


def test_a_public_address_is_a_name_an_origin_and_a_path() -> None:
    assert callers_of(LOCAL_HOSTS, [], "https://AI.example:8443/llm/", []) == Callers(
        LOCAL_HOSTS | {"ai.example"}, frozenset({"https://ai.example:8443"}), frozenset(), "/llm"
    )
    assert callers_of(LOCAL_HOSTS, ["Box.local"], "http://ai.example", []).hosts == LOCAL_HOSTS | {
        "ai.example",
        "box.local",
    }
    assert callers_of(None, ["x"], "", []).hosts is None
    assert callers_of(LOCAL_HOSTS, [], "", []) == Callers()


@pytest.mark.parametrize(
    "url", ["ai.example", "ftp://ai.example", "https://", "https://a/b c", "https://a/%2e", "https://a@b"]
)
def test_what_is_no_address_is_explained(url: str) -> None:
    with pytest.raises(UserError, match="not `foo`"):
        callers_of(LOCAL_HOSTS, [], "foo", [])
    with pytest.raises(UserError, match="--public-url takes an address"):
        callers_of(LOCAL_HOSTS, [], url, [])


@pytest.mark.parametrize("origin", ["*", "null", "app.example", "https://app.example/", "https://app.example/x", ""])
def test_a_web_site_is_an_origin(origin: str) -> None:
    with pytest.raises(UserError, match="--allow-origin takes an address"):
        callers_of(LOCAL_HOSTS, [], "", [origin])
