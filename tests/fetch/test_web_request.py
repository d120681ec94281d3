"""Addresses: what is private, and one spelling for each URL."""

import pytest

from privllm.fetch.web_request import Refused, address_of, is_public, normal_url


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
        ),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::1"),
    ],
)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "::1"])
def test_private_hosts_are_refused_however_they_are_written(host: str) -> None:
    with pytest.raises(Refused):
        address_of(host, 80, allow_private=False)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://a.example", "http://a.example/"),
        ("HTTPS://A.Example.:443/x?b=ü#c", "https://a.example/x?b=%C3%BC"),
        ("http://a.example:8080/a%20b/ä", "http://a.example:8080/a%20b/%C3%A4"),
        ("../c?d=e f", "http://a.example/c?d=e%20f"),
        ("//b.example/x", "http://b.example/x"),
        ("http://[2001:db8::1]:80/", "http://[2001:db8::1]/"),
    ],
)
def test_urls_have_one_spelling(url: str, normal: str) -> None:
    assert normal_url(url, "http://a.example/b/") == normal
    assert normal_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://a.example/",
        "file:///etc/passwd",
        "http://",
        "http://u:p@a.example/",
        "http://a.example:99999/",
        "http://[::1",
        "javascript:1",
    ],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        normal_url(url)


def test_lines_cannot_be_put_into_a_request() -> None:
    assert "\r" not in normal_url("http://a.example/a\r\nX: y") + normal_url("http://a.example/?a\nb")
