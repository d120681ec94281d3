"""Quality rules of a project's own: their name is the reason, what they return the detail."""

import re
from pathlib import Path

import pytest

from privllm.clean import html, language, quality, recipe
from privllm.clean.own_rules import own_fault_of, quality_rules
from privllm.clean.quality import REASONS
from privllm.clean.recipe import CleanConfig, Dropped, clean_document
from privllm.core.errors import UserError
from privllm.engine.extensions import Extensions
from tests.extend import Extended, make_extended

HOUSE = Extensions("", ("extensions.house",))
PROSE = (
    "It was the best of times, and it was the worst of times, that we have seen with all the people of the city. " * 2
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    return make_extended(tmp_path / "project", monkeypatch)


def rule(project: Extended, body: str, name: str = "mine") -> None:
    project.write("extensions/house.py", f'def f(text, language):\n    {body}\n\n\nQUALITY_RULES = {{"{name}": f}}\n')


def test_reasons_of_our_own_are_all_listed() -> None:
    """A new reason that is not in REASONS could be an own rule's name as well."""
    named: set[str] = set()
    for module in (html, language, quality, recipe):
        source = Path(module.__file__ or "").read_text("utf-8")
        named |= set(re.findall(r'return "(\w+)", f?"', source))
        named |= set(re.findall(r'ParsingTooCostly\("(\w+)"', source))
        named |= set(re.findall(r'Dropped\("", "", 0\.0, \{\}, "(\w+)"', source))
    assert named == REASONS


def test_a_rule_drops_what_ours_keep_and_sees_clean_text(project: Extended) -> None:
    rule(project, "return f'{language}: {text[-8:]}' if '<EMAIL>' in text else None")
    assert own_fault_of(HOUSE, "nothing", "en") is None
    result = clean_document(CleanConfig(), "text/plain", f"{PROSE} bob@corp.example", HOUSE)
    assert isinstance(result, Dropped)
    assert (result.reason, result.detail) == ("mine", "en:  <EMAIL>")
    assert not isinstance(clean_document(CleanConfig(), "text/plain", PROSE, HOUSE), Dropped)


def test_ours_come_first(project: Extended) -> None:
    rule(project, "return 'never asked'")
    result = clean_document(CleanConfig(profile="web"), "text/plain", "short", HOUSE)
    assert isinstance(result, Dropped)
    assert result.reason == "too_short"


@pytest.mark.parametrize("value", ["True", "3", "b''", "('a', 'b')"])
def test_anything_but_a_text_or_none_is_refused(project: Extended, value: str) -> None:
    rule(project, f"return {value}")
    with pytest.raises(UserError, match=r"house.py, line 5: `mine` returned .*: it must be a text"):
        own_fault_of(HOUSE, "text", "en")


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ('"too_short": len', "a reason of privllm's own"),
        ('"language": len', "a reason of privllm's own"),
        ('"Too Loud": len', "small letters"),
        ('"mine": 3', "must be a function"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_with_its_line(project: Extended, entry: str, fault: str) -> None:
    project.write("extensions/house.py", f"QUALITY_RULES = {{\n    {entry},\n}}\n")
    with pytest.raises(UserError, match=f"house.py, line 2: .*{fault}"):
        quality_rules(HOUSE)
