"""One request over HTTP(S), with limits: no redirect is followed, and no private address is asked.

The name is looked up once and that very address is connected to, so a name cannot point elsewhere after the check.
Proxies of the environment are not used. A body that is longer than its limit, or takes longer than `SECONDS`, is refused.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

TIMEOUT = 20.0  # seconds without a byte
SECONDS = 120.0  # for one answer
CHUNK = 1 << 16
PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(Exception):
    """A request that was not made, or whose answer is not kept; `reason` is to count by."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Limits:
    """What may be asked for, and in whose name."""

    agent: str
    max_bytes: int
    allow_private: bool = False


@dataclass(frozen=True)
class Answer:
    """An answer of a server, and what it was asked."""

    url: str
    asked_at: datetime
    address: str
    request: bytes  # as it was sent
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes  # without the transfer's chunks

    def header(self, name: str) -> str:
        """Return the first header of a name, in any case, "" where there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def media_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()


def normal_url(url: str, base: str = "") -> str:
    """Return the absolute URL without fragment, in one spelling. Raises `Refused` for one that cannot be asked for."""
    try:
        parts = urlsplit(urljoin(base, url.strip()))
        host = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii")
        port = parts.port
    except (ValueError, UnicodeError) as error:
        raise Refused("not a URL", url) from error
    if parts.scheme not in PORTS or not host:
        raise Refused("not http or https", url)
    if parts.username is not None or parts.password is not None:
        raise Refused("password in the URL", host)
    name = f"[{host}]" if ":" in host else host
    place = name if port in (None, PORTS[parts.scheme]) else f"{name}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return urlunsplit((parts.scheme, place, path, query, ""))


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the open internet, also inside an address of IPv6 that holds one of IPv4."""
    ip: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner: list[Address] = [part for part in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())) if part]
        if ip in NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if not all(is_public(str(part)) for part in inner):
            return False
        if ip.ipv4_mapped:
            return True
    return ip.is_global and not ip.is_multicast


def address_of(host: str, port: int, allow_private: bool) -> str:
    """Return the address to connect to. Raises `Refused` where there is none, or any is private and that is not allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused("unknown host", host) from error
    addresses = [str(entry[4][0]) for entry in found]
    private = [address for address in addresses if not is_public(address)]
    if private and not allow_private:
        raise Refused("private address", f"{host} is {private[0]}")
    return addresses[0]


def get(url: str, limits: Limits, kinds: frozenset[str] | None = None) -> Answer:
    """Return the answer to a GET. Raises `Refused`.

    kinds: the media types whose bodies are read where the status is 200; None: all.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or PORTS[parts.scheme]
    address = address_of(host, port, limits.allow_private)
    target = urlunsplit(("", "", parts.path, parts.query, ""))
    sent = {
        "Host": parts.netloc,
        "User-Agent": limits.agent,
        "Accept": "text/html, application/xhtml+xml, text/plain, application/pdf, */*;q=0.1",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    asked_at, deadline = datetime.now(UTC), time.monotonic() + SECONDS
    try:
        connection.sock = _connected(parts.scheme, host, address, port)
        connection.request("GET", target, headers=sent)
        response = connection.getresponse()
        headers = [(name, " ".join(value.split())) for name, value in response.getheaders()]
        answer = Answer(
            url,
            asked_at,
            address,
            f"GET {target} HTTP/1.1\r\n{head}\r\n".encode(),
            response.status,
            response.reason,
            headers,
            b"",
        )
        if kinds is not None and response.status == 200 and answer.media_type not in kinds:
            raise Refused("another kind of file", answer.media_type)
        body = _body(response, limits.max_bytes, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused("no answer", f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return Answer(**{**vars(answer), "body": body})


def _connected(scheme: str, host: str, address: str, port: int) -> socket.socket:
    connected = socket.create_connection((address, port), TIMEOUT)
    if scheme == "http":
        return connected
    try:
        return ssl.create_default_context().wrap_socket(connected, server_hostname=host)
    except BaseException:
        connected.close()
        raise


def _body(response: http.client.HTTPResponse, max_bytes: int, deadline: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(CHUNK):
        size += len(chunk)
        chunks.append(chunk)
        if size > max_bytes:
            raise Refused("too large", f"more than {max_bytes:,} bytes")
        if time.monotonic() > deadline:
            raise Refused("too slow", f"more than {SECONDS:.0f} seconds")
    if response.length:
        raise Refused("no answer", f"it ended {response.length:,} bytes too early")
    return b"".join(chunks)
