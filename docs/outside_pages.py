"""MkDocs hook: pages of the documentation that lie outside docs/, where people look for them on a code host."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {  # in the repository: in the documentation
    "CHANGELOG.md": "develop/changelog.md",
    "CONTRIBUTING.md": "develop/contributing.md",
    "reports/LOG.md": "develop/log.md",
}
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside to those of docs/."""
    from mkdocs.structure.files import File  # here, since tests read this module without MkDocs

    for source, target in OUTSIDE.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave or enter docs/ to where the documentation has the page."""
    places = {target: source for source, target in OUTSIDE.items()}
    on_disk = places.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return LINK.sub(lambda link: moved(link, on_disk, page.file.src_uri), markdown)


def moved(link: re.Match[str], on_disk: str, in_docs: str) -> str:
    """Return a link as it is written on the page `in_docs`, whose file in the repository is `on_disk`."""
    path, anchor = link[1], link[2] or ""
    target = os.path.normpath(PurePosixPath(on_disk).parent / path)
    place = OUTSIDE.get(target) or target.removeprefix("docs/")
    if target not in OUTSIDE and on_disk.startswith("docs/"):
        return link[0]
    return f"]({os.path.relpath(place, PurePosixPath(in_docs).parent)}{anchor})"
