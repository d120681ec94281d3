"""Names of files that are copied into the wheel when it is built: those of a new project that are this repository's own, and its pages.

`setup.py` imports this before anything is installed, so it imports the standard library alone.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKAGED = FOLDER / "template"  # in a wheel; a clone has the originals
DOCUMENTATION = FOLDER / "documentation"  # likewise
PAGES = ("README.md", "CHANGELOG.md", "docs/**/*.md", "docs/pipeline.svg")
PATTERNS = (
    "dvc.yaml",
    "params.yaml",
    "params.schema.json",
    "requirements.lock",
    ".dvcignore",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots.html",
    "stages/*.py",
    "data/.gitignore",
    "data/base/.gitignore",
    "data/chat/.gitignore",
    "data/feedback/.gitignore",
    "data/finetune/.gitignore",
    "data/promoted/*.json",
    "data/replay/.gitignore",
    "data/promoted/model/.gitignore",
    "data/promoted/sides/.gitignore",
    "data/vocabulary/.gitignore",
    "reports/.gitignore",
    "reports/finetune/.gitignore",
)


def copied_files(repository: Path) -> Iterator[Path]:
    """Yield the files of `repository` that a new project has too, relative to it, in order.

    Raises FileNotFoundError where one is missing.
    """
    yield from _files(repository, PATTERNS)


def documentation_files(repository: Path) -> Iterator[Path]:
    """Yield the pages of the documentation, relative to `repository`, in order."""
    yield from _files(repository, PAGES)


def _files(repository: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        matches = sorted(repository.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"there is no {pattern} in {repository}")
        for path in matches:
            yield path.relative_to(repository)
