"""Who may call the server: by which names, through which address, and from pages of which web sites.

On a loopback address the Host header must name this machine, so that a web site cannot reach the
server through a name of its own (DNS rebinding). A request that a browser sends from another site is
refused, unless that site was allowed; then the browser is told so (CORS). No HTTP library here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from privllm.core.errors import UserError

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
ORIGIN = re.compile(r"https?://[\w.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?", re.ASCII | re.IGNORECASE)
PREFIX = re.compile(r"(/[\w.~-]+)*", re.ASCII)
PREFLIGHT_SECONDS = 600  # for which a browser need not ask again


@dataclass(frozen=True)
class Callers:
    """Names, addresses and web sites that may be used."""

    hosts: frozenset[str] | None = LOCAL_HOSTS  # names of the server; None: any (then access tokens are required)
    own_origins: frozenset[str] = frozenset()  # of its public address, which a proxy may hide from it
    origins: frozenset[str] = frozenset()  # of other web sites
    prefix: str = ""  # of its public address: "/llm"

    def knows_host(self, host: str) -> bool:
        return self.hosts is None or _hostname(host) in self.hosts

    def takes_origins(self, given: list[str], host: str, site: str) -> bool:
        """Return whether a page of these origins, on what the browser calls `site`, may send."""
        origins = [origin for origin in given if origin]
        if origins and all(origin in self.own_origins | self.origins for origin in origins):
            return True
        own = all(_host_and_port(origin) == host for origin in origins)
        return own and site in ("same-origin", "none")

    def cors_headers(self, origin: str) -> dict[str, str]:
        """Return what lets a page of `origin` read an answer; nothing unless it was allowed."""
        if origin not in self.origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": "x-request-id, retry-after",
            "cross-origin-resource-policy": "cross-origin",
            "vary": "origin",
        }

    def preflight_headers(self, origin: str, wanted: Mapping[str, str]) -> dict[str, str]:
        """Return the answer to a browser that asks whether a page of `origin` may send; nothing if it may not."""
        headers = self.cors_headers(origin)
        if not headers or "access-control-request-method" not in wanted:
            return {}
        return headers | {
            "access-control-allow-methods": "GET, POST, DELETE",
            "access-control-allow-headers": wanted.get("access-control-request-headers", "content-type"),
            "access-control-max-age": str(PREFLIGHT_SECONDS),
        }


def callers_of(
    hosts: frozenset[str] | None,
    more_hosts: list[str],
    public_url: str,
    allowed_origins: list[str],
) -> Callers:
    """Return the callers of a server that is bound to `hosts`. Raises UserError for what is no address."""
    origins = {_origin(origin) for origin in allowed_origins}
    own_origins: set[str] = set()
    prefix = ""
    names = set(more_hosts)
    if public_url:
        parts = urlsplit(public_url)
        prefix = parts.path.rstrip("/")
        origin = public_url.partition("?")[0].removesuffix("/").removesuffix(prefix)
        if not ORIGIN.fullmatch(origin) or not PREFIX.fullmatch(prefix):
            raise UserError(f"--public-url takes an address such as https://ai.example.org/llm, not `{public_url}`.")
        own_origins = {origin.lower()}
        names.add(parts.hostname or "")
    if hosts is not None:
        hosts = hosts | {name.lower() for name in names if name}
    return Callers(hosts, frozenset(own_origins), frozenset(origins), prefix)


def _origin(origin: str) -> str:
    if not ORIGIN.fullmatch(origin):
        raise UserError(f"--allow-origin takes an address such as https://ai.example.org, not `{origin}`.")
    return origin.lower()


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _host_and_port(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
