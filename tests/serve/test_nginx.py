"""Behind Debian's nginx, below a path, by another name: the page, the API and streams, as docs/guides/serve.md says."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from privllm.serve.app import chat_app
from privllm.serve.callers import LOCAL_HOSTS, Callers, callers_of
from privllm.serve.database import Database
from tests.serve.fakes import Parrot
from tests.serve.live import live

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NGINX, reason="nginx is not installed (apt-get install nginx-light)"),
]
CONFIGURATION = """
daemon off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location /llm/ {{
            {location}
        }}
    }}
}}
"""
LOCATIONS = {
    "path taken off": "proxy_pass {url}/;",
    "path kept": "proxy_pass {url};",
    "name passed on": "proxy_pass {url}/; proxy_set_header Host $http_host;",
    "name passed on, path kept": "proxy_pass {url}; proxy_set_header Host $http_host;",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextmanager
def nginx(folder: Path, port: int, location: str) -> Iterator[None]:
    (folder / "nginx.conf").write_text(CONFIGURATION.format(port=port, location=location))
    process = subprocess.Popen([NGINX or "", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("name", LOCATIONS)
def test_a_public_address(name: str, tmp_path: Path) -> None:
    port = free_port()
    host = f"ai.example:{port}"
    callers = callers_of(LOCAL_HOSTS, [], f"http://{host}/llm/", [])
    app = chat_app(Parrot("m", "", "one two three four", 0.15), Database(tmp_path / "p.sqlite"), callers)
    with (
        live(app) as url,
        nginx(tmp_path, port, LOCATIONS[name].format(url=url)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}/llm/", headers={"host": host}) as client,
    ):
        page = client.get("")
        assert (page.status_code, 'src="static/chat.js"' in page.text) == (200, True)
        for path in ("static/chat.js", "static/style.css", "api/page", "v1/models", "health"):
            assert client.get(path).status_code == 200
        sent = {"origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        asked = {"model": "m", "prompt": "x", "stream": True}
        times = []
        with client.stream("POST", "v1/completions", json=asked, headers=sent) as answer:
            assert answer.status_code == 200
            for _ in answer.iter_lines():
                times.append(time.monotonic())
        assert times[-1] - times[0] > 0.3  # piece by piece: nginx would keep a reply until its end
        foreign = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        assert client.post("v1/completions", json=asked, headers=foreign).status_code == 403
        away = client.get(f"http://127.0.0.1:{port}/llm")
        assert (away.status_code, urlsplit(away.headers["location"]).path) == (301, "/llm/")


def test_without_its_public_address_a_server_refuses_what_comes_through_a_proxy(tmp_path: Path) -> None:
    port = free_port()
    with (
        live(chat_app(Parrot("m", "", "x"), Database(tmp_path / "p.sqlite"), Callers())) as url,
        nginx(tmp_path, port, f"proxy_pass {url}/; proxy_set_header Host $http_host;"),
    ):
        answer = httpx.get(f"http://127.0.0.1:{port}/llm/v1/models", headers={"host": f"ai.example:{port}"})
        assert (answer.status_code, "--allow-host" in answer.text) == (421, True)
