"""What a family or task that is no longer asked for has left behind.

DVC forgets a stage that params.yaml no longer names, but not what it made; a later stage that reads all families' folders would
take the old one for a result of this build. DVC's cache keeps it, so asking for the family again brings it back at once.
"""

import shutil
from pathlib import Path

from privllm.engine.pipeline import TEMPLATE, declared_stages, outputs_of, runs_ours, written_stages


def remove_leftovers(root: Path) -> list[str]:
    """Remove them; returns their paths.

    Looks only into folders of which dvc.yaml says that every entry is an output of one of our stages' items; what else a stage
    of the user's own makes there stays.
    """
    ours = [stage for name, stage in written_stages(root).items() if runs_ours(stage, name)]
    many = [stage.get("do", stage) for stage in ours if "matrix" in stage or "foreach" in stage]
    folders = {path.parent for stage in many for path in map(Path, outputs_of(stage)) if TEMPLATE.search(path.name)}
    wanted = {Path(path) for stage in declared_stages(root).values() for path in outputs_of(stage)}
    removed = []
    for folder in sorted(folders):
        for path in sorted((root / folder).iterdir()) if (root / folder).is_dir() else []:
            if path.relative_to(root) in wanted or path.name == ".gitignore":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed.append(path.relative_to(root).as_posix())
    return removed
