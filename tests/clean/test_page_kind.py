"""Kinds of pages: what JSON-LD and Open Graph say, in any order and spelling, and pages that say nothing or too much."""

import time

import pytest

from privllm.clean.html import read_page
from privllm.clean.page_kind import KINDS, kind_of

LD = '<script type="application/ld+json">{%s}</script>'


@pytest.mark.parametrize(
    ("markup", "kind"),
    [
        (LD % '"@type": "NewsArticle"', "article"),
        (LD % '"@type" : ["BlogPosting"]', "article"),
        (LD % '"@type":"https://schema.org/QAPage"', "forum"),
        (LD % '"@type":"Article","about":{"@type":"Product"}', "product"),
        (LD % '"@type":"Organization"', "none"),
        ('<meta property="og:type" content="article">', "article"),
        ("<meta content='Product.Group' property='og:type'/>", "product"),
        ('<meta name=og:type content=website><meta name=og:title content="article">', "website"),
        ("og:type", "none"),
        ("", "none"),
    ],
)
def test_a_page_says_what_it_is(markup: str, kind: str) -> None:
    assert kind_of(markup) == kind
    assert kind in KINDS


def test_a_page_brings_both_along() -> None:
    page = read_page("<title>The plan</title><meta property='og:type' content='article'><p>Text</p>", 1000)
    assert (page.kind, page.title) == ("article", "The plan")


@pytest.mark.parametrize("piece", ['"@type" : [ ', "<title ", "og:type", '"@type":"' + "a" * 30, "<meta content="])
def test_time_is_linear_in_the_page(piece: str) -> None:
    markup = piece * (1_000_000 // len(piece))
    start = time.process_time()
    kind_of(markup)
    assert time.process_time() - start < 2
