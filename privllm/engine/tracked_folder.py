"""A folder of a user's own that a parameter names, below a place that the build tracks.

Nothing outside of that place is read: a link that leads elsewhere would be an input that no stage declares.
"""

import json
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.engine.cache import find_cache


class TrackedFolder:
    """The folder; `key` is the parameter that names it."""

    def __init__(self, key: str, folder: Path, tracked: Path) -> None:
        """Allow files below `tracked`, and in DVC's cache, to which links of DVC lead."""
        self.key, self.folder = key, folder
        self.roots = [tracked.resolve()]
        cache = find_cache(Path())
        if cache:
            self.roots.append(cache.folder.resolve())

    def path(self, name: str) -> Path | None:
        """Return the path of a file in the folder; None where there is none."""
        path = self.folder / name
        if not path.is_file():
            return None
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in self.roots):
            raise self.error(f"{path} is a link to {real}, which the build does not track; put the file itself there")
        return path

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file of the folder; {} where there is none."""
        path = self.path(name)
        try:
            value = json.loads(path.read_text("utf-8")) if path else {}
        except ValueError as error:
            raise self.error(f"{path} is not valid JSON ({error})") from error
        if not isinstance(value, dict):
            raise self.error(f"{path} should hold a JSON object")
        return value

    def error(self, fault: str) -> UserError:
        return UserError(f"`{self.key}` in params.yaml: {fault}.")

    def require_folder(self) -> None:
        """Raise UserError unless the folder is there."""
        if self.folder.is_dir():
            return
        base = self.folder.parent
        available = ", ".join(sorted(path.name for path in base.glob("*") if path.is_dir())) or "nothing"
        raise self.error(
            f"{self.folder} is not there (below {base}: {available}); a fetched repository needs `dvc pull`"
        )

    def files(self) -> list[tuple[str, Path]]:
        """Return (name below the folder, path) of every file, by name."""
        found = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            tracked = self.path(name)
            if tracked is not None:
                found.append((name, tracked))
        return found
