"""Names of the files of a new project that are this repository's own, copied into the wheel when it is built.

`setup.py` imports this before anything is installed, so it imports the standard library alone.
"""

from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKAGED = FOLDER / "template"  # in a wheel; a clone has the originals
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
    "data/feedback/.gitignore",
    "data/finetune/.gitignore",
    "data/promoted/*.json",
    "data/promoted/model/.gitignore",
    "reports/.gitignore",
    "reports/finetune/.gitignore",
)


def copied_files(repository: Path) -> Iterator[Path]:
    """Yield the files of `repository` that a new project has too, relative to it, in order.

    Raises FileNotFoundError where one is missing.
    """
    for pattern in PATTERNS:
        matches = sorted(repository.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"there is no {pattern} in {repository}")
        for path in matches:
            yield path.relative_to(repository)
