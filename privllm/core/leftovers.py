"""What a family or task that is no longer asked for has left behind.

DVC forgets a stage that params.yaml no longer names, but not what it made; a later stage that reads all families' folders would
take the old one for a result of this build. DVC's cache keeps it, so asking for the family again brings it back at once.
"""

import shutil
from pathlib import Path

import yaml

from privllm.core.pipeline import PIPELINE, TEMPLATE, declared_stages


def remove_leftovers(root: Path) -> list[str]:
    """Remove them; returns their paths. Looks only into folders of which dvc.yaml says that every entry is an item's own output."""
    if not (root / PIPELINE).is_file():
        return []
    written = (yaml.safe_load((root / PIPELINE).read_text("utf-8")) or {}).get("stages", {})
    many = [stage.get("do", stage) for stage in written.values() if "matrix" in stage or "foreach" in stage]
    folders = {Path(path).parent for path in map(Path, (p for stage in many for p in _outputs(stage))) if TEMPLATE.search(path.name)}
    wanted = {Path(path) for stage in declared_stages(root).values() for path in _outputs(stage)}
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


def _outputs(stage: dict) -> list[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
