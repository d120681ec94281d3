"""Outputs of families and tasks that params.yaml no longer names.

DVC forgets such a stage, but leaves its outputs; a later stage that reads the folders of all
families would take them for results of this build. DVC's cache keeps them, so naming the family
again restores them at once.
"""

import shutil
from pathlib import Path

from privllm.engine.pipeline import TEMPLATE, declared_stages, outputs_of, runs_ours, written_stages


def remove_leftovers(root: Path) -> list[str]:
    """Remove them and return their paths.

    Looks only into folders in which every entry is, by dvc.yaml, an output of an item of one of our
    stages; outputs that people's own stages declare there stay.
    """
    declared = {Path(path) for stage in declared_stages(root).values() for path in outputs_of(stage)}
    removed = []
    for folder in sorted(_folders_of_items(root)):
        entries = sorted((root / folder).iterdir()) if (root / folder).is_dir() else []
        for path in entries:
            if path.relative_to(root) in declared or path.name == ".gitignore":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed.append(path.relative_to(root).as_posix())
    return removed


def _folders_of_items(root: Path) -> set[Path]:
    """Return the folders in which each item of a matrix or foreach of ours has its output."""
    folders = set()
    for name, stage in written_stages(root).items():
        has_items = "matrix" in stage or "foreach" in stage
        if not has_items or not runs_ours(stage, name):
            continue
        for output in map(Path, outputs_of(stage.get("do", stage))):
            if TEMPLATE.search(output.name):
                folders.add(output.parent)
    return folders
