"""Behind Debian's Caddy, below a path, by another name: the page, the API and streams, as docs/guides/serve.md says."""

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from tests.serve.proxies import Public, documented, free_port, running, unprepared

CADDY = shutil.which("caddy")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CADDY, reason="Caddy is not installed (apt-get install caddy)"),
]
CONFIGURATION = """
{{
    admin off
    auto_https off
}}
{site}
"""
SITES = {
    "as documented": documented("caddyfile"),
    "path kept": """
ai.example.org {
    redir /llm /llm/
    reverse_proxy /llm/* 127.0.0.1:8000
}
""",
    "its own name": """
ai.example.org {
    redir /llm /llm/
    handle_path /llm/* {
        reverse_proxy 127.0.0.1:8000 {
            header_up Host {upstream_hostport}
        }
    }
}
""",
}


def caddy(folder: Path, port: int, site: str, url: str) -> AbstractContextManager[None]:
    """Run Caddy with a site of the documentation: at this port, without TLS, in front of `url`."""
    site = site.replace("ai.example.org {", f"http://:{port} {{\n    bind 127.0.0.1", 1)
    site = site.replace("127.0.0.1:8000", url.removeprefix("http://"))
    (folder / "Caddyfile").write_text(CONFIGURATION.format(site=site))
    command = [CADDY or "", "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
    return running(command, port, folder / "caddy.log", **variables)


@pytest.mark.parametrize("name", SITES)
def test_a_public_address(name: str, tmp_path: Path) -> None:
    public = Public(tmp_path)
    with public.served() as url, caddy(tmp_path, public.port, SITES[name], url):
        print(f"Caddy, {name}:", *public.visit(), sep="\n  ")


def test_without_its_public_address_a_server_refuses_what_comes_through_a_proxy(tmp_path: Path) -> None:
    port = free_port()
    with unprepared(tmp_path) as url, caddy(tmp_path, port, SITES["as documented"], url):
        answer = httpx.get(f"http://127.0.0.1:{port}/llm/v1/models", headers={"host": f"ai.example:{port}"})
        assert (answer.status_code, "--allow-host" in answer.text) == (421, True)
