"""`make clean`: remove what the stages of dvc.yaml make. What people put in (sources, feedback, base, promoted) and DVC's cache stay.

python -m privllm.manage.remove_outputs      in the root of the repository
"""

import os
import shutil
import sys
from pathlib import Path

from privllm.core.errors import UserError
from privllm.core.printable import say
from privllm.core.work_paths import WORK_FOLDER
from privllm.engine.leftovers import remove_leftovers
from privllm.engine.pipeline import declared_stages, outputs_of


def wipe(root: Path) -> list[str]:
    """Remove every output, metric and plot that dvc.yaml declares, and what earlier families and tasks left; returns their paths."""
    removed = remove_leftovers(root)
    declared = {path for stage in declared_stages(root).values() for path in outputs_of(stage)}
    for path in sorted(declared | {WORK_FOLDER.as_posix()}):
        if _inside(root, path) and os.path.lexists(root / path):
            _remove(root / path)
            removed.append(path)
    return removed


def _inside(root: Path, path: str) -> bool:
    """Does it lie below the repository? A stage of somebody's own may write elsewhere, and what lies there may not be ours alone."""
    place = (root / path).parent.resolve() / Path(path).name
    return place.is_relative_to(root.resolve()) and place != root.resolve()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main() -> None:
    try:
        removed = wipe(Path())
    except UserError as error:
        sys.exit(f"error: {error}")
    say(f"removed: {' '.join(removed)}" if removed else "nothing was built here")


if __name__ == "__main__":
    main()
