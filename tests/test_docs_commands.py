"""Every command block of README.md and docs/start, run as a reader would, in their order, on a small corpus.

`make setup` counts as done, and people's part in `privllm serve` is played by a client.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from privllm.core.params import read_params
from privllm.parameters.sections import SECTIONS
from tests.test_story import correct, served
from tests.workshop import ROOT, Workshop, environment, make_workshop

PAGES = ("README.md", "docs/start/first-build.md", "docs/start/own-documents.md")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
PARAMETERS = re.compile(r"^```yaml\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```(\w*)$", flags=re.MULTILINE)
SERVE = "privllm serve"  # it would wait for Ctrl-C
# Two pages build the same thing, so the second commit of it may be empty.
PREAMBLE = """
set -eo pipefail
git() { if [ "$1" = commit ]; then shift; command git commit --allow-empty "$@"; else command git "$@"; fi; }
"""
COMMAND = """#!/bin/sh
exec python -m privllm.cli "$@"
"""
WORDS = "amber birch cedar delta ember fjord grove heron".split()


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{Path(self.page).stem}-{self.number}"


def blocks() -> Iterator[Block]:
    """Yield the blocks of all pages in reading order."""
    for page in PAGES:
        for number, (language, text) in enumerate(BLOCK.findall((ROOT / page).read_text("utf-8"))):
            yield Block(page, number, language, text)


def runs(text: str) -> Iterator[list[str]]:
    """Yield the lines of a block in groups that one shell runs; `privllm serve` is a group of its own."""
    group: list[str] = []
    for line in text.splitlines():
        if shlex.split(line, comments=True) == SERVE.split():
            yield from ([group] if group else [])
            yield [SERVE]
            group = []
        else:
            group.append(line)
    yield from ([group] if group else [])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A reader's clone with documents in data/sources, where `make setup` has nothing left to do."""
    workshop = make_workshop(tmp_path_factory.mktemp("docs") / "repository")
    workshop.set("families", ["causal"])
    workshop.set("finetune.tasks", {})
    workshop.set("annotate.limit", 0)
    workshop.set("pretrain.causal.epochs", 0.02)
    workshop.set("evaluate.continuations", 0)
    workshop.set("gate.rules", {"forgetting": {"max_increase": 1.0}})
    (workshop.root / ".venv/bin").mkdir(parents=True)
    (workshop.root / ".venv/bin/activate").touch()
    (workshop.root / ".venv/bin/privllm").write_text(COMMAND)
    (workshop.root / ".venv/bin/privllm").chmod(0o755)
    (workshop.root / ".venv/installed").touch()
    handbook = workshop.root.parent / "home/handbook"
    handbook.mkdir(parents=True)
    (handbook / "rules.md").write_text(
        "# Rules\n\n" + "The key of the house is with the committee, and that has to be the rule. " * 8
    )
    workshop.commit("settings")
    return workshop


def test_every_fence_names_its_language() -> None:
    """A block without one would be run by nobody, and noticed by nobody."""
    for page in PAGES:
        opened = FENCE.findall((ROOT / page).read_text("utf-8"))[::2]
        assert set(opened) <= {"bash", "python", "yaml"}, page


def test_parameters_on_the_pages_are_sound(tmp_path: Path) -> None:
    texts = [text for page in PAGES for text in PARAMETERS.findall((ROOT / page).read_text("utf-8"))]
    assert texts
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, "utf-8")
        for section in yaml.safe_load(text):
            read_params(section, SECTIONS[section], path)


@pytest.mark.build
@pytest.mark.parametrize("block", blocks(), ids=str)
def test_block_runs(shop: Workshop, block: Block) -> None:
    if block.language == "python":
        shop.run(sys.executable, "-c", block.text)
        return
    path = f"{shop.root}/.venv/bin:{environment()['PATH']}"
    home = str(shop.root.parent / "home")
    for lines in runs(block.text):
        if lines == [SERVE]:
            talk_and_correct(shop)
        else:
            shop.run("bash", "-c", "\n".join([PREAMBLE, *lines]), PATH=path, HOME=home)


def talk_and_correct(shop: Workshop) -> None:
    """Serve the model to two people, who correct what it says."""
    with served(shop) as client:
        for index, word in enumerate(WORDS):
            correct(client, ("ada", "grace")[index % 2], word)
