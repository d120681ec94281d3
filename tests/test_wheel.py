"""The page that a reader of `tests/wheel.py` follows has the commands that it knows how to follow."""

from tests.wheel import COMMAND, PAGE, SMALL
from tests.workshop import ROOT


def test_the_page_installs_starts_builds_serves_and_upgrades() -> None:
    commands = COMMAND.findall(PAGE.read_text("utf-8"))
    first_words = [" ".join(command.split()[:2]) for command in commands]
    assert first_words.count("dvc repro") == 2
    for words in ("pip install", "privllm init", "privllm doctor", "dvc add", "privllm serve", "privllm upgrade"):
        assert words in first_words


def test_what_makes_the_model_small_stands_in_the_parameters() -> None:
    params = (ROOT / "params.yaml").read_text("utf-8")
    assert [text for text in SMALL if text not in params] == []
