"""The documentation is current, complete and whole: generated parts, links, pages that need no network."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.outside_pages import OUTSIDE
from docs.picture import direct_parents, pipeline_picture
from docs.tables import DECISIONS, generated, read_decision, stages
from privllm.manage.compare import GOOD
from tests.workshop import ROOT

ENTRANCES = [ROOT / "README.md", *(ROOT / name for name in OUTSIDE)]
PAGES = sorted([*ENTRANCES, *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)]+)\)")
MKDOCS = importlib.util.find_spec("mkdocs") is not None


@pytest.mark.parametrize(("path", "text"), [pytest.param(*file, id=file[0].name) for file in generated()])
def test_generated_parts_are_current(path: Path, text: str) -> None:
    assert path.read_text("utf-8") == text, "run `python docs/tables.py`"


@pytest.mark.parametrize("name", ["README.md", "docs/develop/architecture.md"])
def test_entrances_are_short(name: str) -> None:
    assert (ROOT / name).stat().st_size <= 8192


@pytest.mark.parametrize("page", ENTRANCES, ids=lambda page: page.name)
def test_links_of_pages_outside_the_documentation_lead_somewhere(page: Path) -> None:
    """MkDocs checks those of docs/, and of these pages only once it has moved them."""
    for link in LINK.findall(page.read_text("utf-8")):
        path = link.partition("#")[0]
        assert link.startswith("https://") or (page.parent / path).exists(), link


def test_every_verb_of_the_makefile_is_explained() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    for verb in re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE):
        assert f"`make {verb}`" in page


def test_commits_hold_the_parameters() -> None:
    """A commit is a build; without the params.yaml that made it, it is another one."""
    commits = [words.split() for page in PAGES for words in re.findall(r"git add (.+?) &&", page.read_text("utf-8"))]
    assert len(commits) > 5
    assert [words for words in commits if "-A" not in words and "params.yaml" not in words] == []


def test_figures_have_the_direction_that_compare_gives_them() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text("utf-8")
    directions: dict[str, str] = {}
    for names, better in re.findall(r"^\| (`.+?`) \| [^|]* \| (higher|lower) \|", page, flags=re.MULTILINE):
        directions |= dict.fromkeys(re.findall(r"`(\w+)`", names), better)
    expected = {name: "higher" if sign > 0 else "lower" for name, sign in GOOD.items()}
    assert {name: directions.get(name) for name in GOOD} == expected


def test_a_decision_has_a_price_and_alternatives() -> None:
    decisions = [path for path in DECISIONS.glob("*.md") if path.name != "index.md"]
    titles = [read_decision(path)[0] for path in decisions]
    assert len(set(titles)) == len(titles) > 90
    for path in decisions:
        text = path.read_text("utf-8")
        assert "\n**Price.** " in text, path.name
        assert "\n**Alternatives.** " in text, path.name


def test_the_picture_shows_every_stage_once() -> None:
    every_stage = stages()
    labels = re.findall(r"<text [^>]*>([^<]+)</text>", pipeline_picture(every_stage))
    assert sorted(label for label in labels if "/" not in label) == sorted(set(every_stage) - {"fingerprint"})


def test_the_picture_leaves_out_arrows_that_a_longer_way_implies() -> None:
    chain = {name: {"paths": [name], "deps": list(deps)} for name, deps in (("a", ""), ("b", "a"), ("c", "ab"))}
    assert direct_parents(chain) == {"a": set(), "b": {"a"}, "c": {"b"}}


class Loads(HTMLParser):
    """The addresses from which a page loads scripts, styles and pictures, without those of its own links."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get("href") if tag == "link" and values.get("rel") != "canonical" else values.get("src")
        if address:
            self.addresses.append(address)


@pytest.mark.slow
@pytest.mark.docs
@pytest.mark.proof
@pytest.mark.skipif(not MKDOCS, reason="needs MkDocs (`make docs`)")
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 120
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert loads.addresses
        assert [address for address in loads.addresses if "//" in address] == [], page.name
    styles = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?https?:", styles) == []
