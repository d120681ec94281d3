"""Programs outside of Python that a stage calls where params.yaml asks for them: their versions count as those of libraries.

There is one: tesseract, which reads scanned pages (`collect.ocr`).
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE, load_sections
from privllm.core.seed import digest

TESSERACT = "tesseract"
SECONDS = 30  # for a question about itself
LANGUAGE = re.compile(r"[a-z]{3}(?:_[a-z]+)*|script/[A-Za-z_]+")  # such as deu, chi_sim, script/Latin


def programs_of(stage: str, root: Path = Path()) -> dict[str, str]:
    """Return {program: version} of what params.yaml has a stage call. Raises UserError where it is missing."""
    if stage != "collect" or not (root / PARAMS_FILE).is_file():
        return {}
    section = load_sections(root / PARAMS_FILE).get("collect")
    languages = section.get("ocr") if isinstance(section, dict) else None
    if not languages or not isinstance(languages, list):
        return {}
    return {TESSERACT: tesseract_version(tuple(map(str, languages)))}


@cache
def tesseract_version(languages: tuple[str, ...]) -> str:
    """Return the version of tesseract and of what it knows of some languages.

    Raises UserError where it, or a language, is not installed.
    """
    first_line = _answer("--version").partition("\n")[0]
    listed = _answer("--list-langs").splitlines()
    missing = [language for language in languages if language not in listed[1:]]
    if missing:
        packages = " ".join(f"tesseract-ocr-{language.replace('_', '-')}" for language in missing)
        raise UserError(
            f"collect.ocr names {', '.join(missing)}, which tesseract has not: install it (apt-get install {packages}), or take "
            f"it out of the list. It has {', '.join(listed[1:]) or 'none'}."
        )
    folder = re.search(r'"(.+)"', listed[0])
    return " ".join([first_line, *(_content(language, folder[1] if folder else "") for language in languages)])


def _content(language: str, folder: str) -> str:
    """Return a language with a digest of its data: two that are called eng may read differently."""
    try:
        return f"{language}:{digest((Path(folder) / f'{language}.traineddata').read_bytes())[:8]}"
    except OSError:
        return f"{language}:?"


def _answer(question: str) -> str:
    path = shutil.which(TESSERACT)
    if path is None:
        raise UserError(
            "collect.ocr asks for tesseract, which is not installed: install it (apt-get install tesseract-ocr), or set "
            "`collect: {ocr: []}` in params.yaml, and scanned pages are left out."
        )
    try:
        process = subprocess.run([path, question], capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"`{path} {question}` gives no answer ({error}): install tesseract anew.") from None
    if process.returncode:
        raise UserError(f"`{path} {question}` ended with code {process.returncode}: install tesseract anew.")
    return (process.stdout or process.stderr).decode("utf-8", "replace").strip()


def are_languages(languages: Sequence[str]) -> bool:
    """Return whether all are names of languages as tesseract has them, each once."""
    names = [language for language in languages if isinstance(language, str) and LANGUAGE.fullmatch(language)]
    return len(names) == len({*languages})
