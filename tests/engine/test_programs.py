"""Programs that a stage calls count in its fingerprint, and a missing one is named before anything is read."""

from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.libraries_apart import code_digest
from privllm.engine.programs import are_languages, programs_of, tesseract_version
from tests.stand_in_tesseract import install, needs_tesseract


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    tesseract_version.cache_clear()


def test_the_version_names_the_program_and_what_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "", monkeypatch)
    first = tesseract_version(("eng",))
    assert first.startswith("tesseract 9.9 eng:")
    (tmp_path / "eng.traineddata").write_bytes(b"more")
    tesseract_version.cache_clear()
    assert tesseract_version(("eng",)) != first


@needs_tesseract
def test_the_real_one_answers() -> None:
    assert tesseract_version(("eng",)).startswith("tesseract ")
    assert not tesseract_version(("eng",)).endswith("?")


def test_a_language_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "", monkeypatch)
    with pytest.raises(
        UserError, match=r"collect\.ocr names chi_sim, .*apt-get install tesseract-ocr-chi-sim.* It has eng\."
    ):
        tesseract_version(("eng", "chi_sim"))


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 3\n", "no program"])
def test_a_program_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    install(tmp_path, "", monkeypatch).write_text(script)
    with pytest.raises(UserError, match="install tesseract anew"):
        tesseract_version(("eng",))


def test_it_counts_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for text in ("collect: {}\n", "collect: {ocr: []}\n", "families: []\n"):
        (tmp_path / "params.yaml").write_text(text)
        assert programs_of("collect", tmp_path) == {}
    (tmp_path / "params.yaml").write_text("collect: {ocr: [eng]}\n")
    assert programs_of("clean", tmp_path) == {}
    with pytest.raises(UserError, match=r"collect\.ocr asks for tesseract, which is not installed"):
        programs_of("collect", tmp_path)
    install(tmp_path, "", monkeypatch)
    assert programs_of("collect", tmp_path)["tesseract"].startswith("tesseract 9.9")


def test_it_is_apart_from_the_code() -> None:
    plain = b'{"libraries": {}, "modules": {}}'
    assert code_digest("collect", b'{"libraries": {}, "modules": {}, "programs": {"tesseract": "5"}}') == code_digest(
        "collect", plain
    )


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        ([], True),
        (["eng", "chi_sim"], True),
        (["script/Latin"], True),
        (["eng", "eng"], False),
        (["-l"], False),
        (["en"], False),
    ],
)
def test_names_of_languages(names: list[str], allowed: bool) -> None:
    assert are_languages(names) is allowed
