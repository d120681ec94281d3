"""Data Docs: self-contained, safe whatever a document is called, and the same in every folder."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from privllm.core.errors import UserError
from privllm.validate.expectations import ValidateConfig, expectations
from tests.hostile import ESCAPED, EVIL, obeyed

LOADING = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source", "base", "form"}


class Elements(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(corpus: Callable[..., Any], document: Callable[..., dict[str, Any]]) -> str:
    evil = document(7, source="<img src=x onerror=alert(1)>/$id ${id} {{ 7*7 }}.txt", text="ask jo@example.com")
    obeyed_name = EVIL.replace("\udce9", r"\xe9")  # as `collect` calls a file whose name is no UTF-8
    trial = corpus(
        [*(document(number) for number in range(9)), evil, document(8, source=obeyed_name, text="ask jo@example.com")]
    )
    with pytest.raises(UserError):
        trial.validate(max_characters=600)
    return (trial.docs / "index.html").read_text("utf-8")


ACTIVE = ("src", "href", "srcset", "action")


def test_page_loads_nothing_and_runs_nothing(page: str) -> None:
    elements = Elements(page)
    assert not LOADING & set(elements.tags)
    active = [(name, value) for name, value in elements.attributes if name.startswith("on") or name in ACTIVE]
    assert active == [("href", "../index.html#validation")]
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", page)


def test_page_says_nothing_of_when_and_where(page: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert str(tmp_path_factory.getbasetemp()) not in page
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}", page)  # a random id of Great Expectations
    assert not re.search(r"20\d\d-?\d\d-?\d\d", page)
    assert "__none__" not in page


def test_a_source_is_shown_as_it_is_called_and_its_text_is_not(page: str) -> None:
    assert "<img src=x onerror=alert(1)>/$id ${id} {{ 7*7 }}.txt" in Elements(page).text
    assert "jo@example.com" not in page


def test_a_name_turns_nothing_round(page: str) -> None:
    assert ESCAPED in page
    assert not obeyed(page)


def test_every_expectation_is_on_the_page_with_its_severity(page: str) -> None:
    text = " ".join(Elements(page).text.split())
    for checks in expectations(ValidateConfig(max_characters=600), "", {}).values():
        for check in checks:
            assert f"{check.name} {check.severity}" in text
    assert "the build stops" in text


def test_figures_of_the_whole_corpus_are_shown(page: str) -> None:
    text = " ".join(Elements(page).text.split())
    assert "Clean saw every document that collect found critical 11, 11" in text
    assert "of what was found survives reading and cleaning critical 1 " in text + " "
    assert "The mix of languages changed little since the promoted build warning --" in text
