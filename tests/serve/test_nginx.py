"""Behind Debian's nginx, below a path, by another name: the page, the API and streams, as docs/guides/serve.md says."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from tests.serve.proxies import Public, documented, free_port, running, unprepared

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
        {location}
    }}
}}
"""
LOCATIONS = {
    "as documented": documented("nginx")
    .replace("http://127.0.0.1:8000", "{url}")
    .replace("{\n", "{{\n")
    .replace("}\n", "}}\n"),
    "path kept": "location /llm/ {{ proxy_pass {url}; }}",
    "name passed on": "location /llm/ {{ proxy_pass {url}/; proxy_set_header Host $http_host; }}",
    "name passed on, path kept": "location /llm/ {{ proxy_pass {url}; proxy_set_header Host $http_host; }}",
}


def nginx(folder: Path, port: int, location: str) -> AbstractContextManager[None]:
    (folder / "nginx.conf").write_text(CONFIGURATION.format(port=port, location=location))
    command = [NGINX or "", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    return running(command, port, folder / "nginx.log")


@pytest.mark.parametrize("name", LOCATIONS)
def test_a_public_address(name: str, tmp_path: Path) -> None:
    public = Public(tmp_path)
    with public.served() as url, nginx(tmp_path, public.port, LOCATIONS[name].format(url=url)):
        print(f"nginx, {name}:", *public.visit(), sep="\n  ")


def test_without_its_public_address_a_server_refuses_what_comes_through_a_proxy(tmp_path: Path) -> None:
    port = free_port()
    with unprepared(tmp_path) as url, nginx(tmp_path, port, LOCATIONS["name passed on"].format(url=url)):
        answer = httpx.get(f"http://127.0.0.1:{port}/llm/v1/models", headers={"host": f"ai.example:{port}"})
        assert (answer.status_code, "--allow-host" in answer.text) == (421, True)
