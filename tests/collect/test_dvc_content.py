"""DVC itself is the oracle: what it calls the content of a folder, and what it passes over."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from privllm.collect.dvc_content import content_of
from privllm.collect.file_index import KNOWN
from privllm.collect.files import survey
from privllm.collect.recipe import CollectConfig, collect
from privllm.core.errors import UserError
from privllm.engine.source_guard import sources_as_read


def of_dvc(root: Path, sources: Path) -> str:
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB

    store = HashFileDB(localfs, str(root / "store"))
    _, _, tree = build(store, str(sources), localfs, "md5", ignore=DvcIgnoreFilter(localfs, str(root)), dry_run=True)
    return str(tree.hash_info.value)


FILES = (
    *(
        "a.txt",
        "b/c.md",
        "b.md",
        "b-c.md",
        "Ü/naïve \u2028 line.txt",
        "数.txt",
        "back\\slash.txt",
        'quote".txt',
        "new\nline.txt",
    ),
    *(
        "movie.mp4",
        "none.txt",
        ".hidden.txt",
        ".folder/deep/x.txt",
        ".folder/.y",
        "inner.dvc",
        ".gitignore",
        "lines.jsonl",
    ),
    *(
        "skip/a.txt",
        "keep/skip.txt",
        "x.tmp",
        "keep/x.tmp",
        "keep/important.tmp",
        "deep/only here/z.txt",
        "__pycache__/m.pyc",
        "m.pyc",
    ),
    *(".git/config", "own/.dvc/config", "own/o.txt", "b/.git"),
)
RULES: list[dict[str, str]] = [
    {},
    {".dvcignore": "# a comment\n\n__pycache__\n*.pyc\n.venv\n"},
    {".dvcignore": "skip/\n*.tmp\n!important.tmp\n"},
    {".dvcignore": "/data/sources/deep/only*\ndata/sources/b/c.md\nsources/a.txt\n"},
    {".dvcignore": "*.md", "data/.dvcignore": "!b.md\n/sources/skip\n  Ü \n"},
    {".dvcignore": "*\n!*.txt\n!*/\n"},
    {".dvcignore": ".*\n[ab].txt\nx.tm?\nkeep/**\n"},
]


@pytest.fixture(params=RULES, ids=str)
def repository(request: Any, tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    for name in FILES:
        path = tmp_path / "data/sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if name == "none.txt" else '{"text": "of ' + "many words " * len(name) + '"}')
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/e.txt").write_text("linked")
    (tmp_path / "data/sources/link.txt").symlink_to("a.txt")
    (tmp_path / "data/sources/outside.txt").symlink_to(tmp_path / "elsewhere/e.txt")
    (tmp_path / "data/sources/folder").symlink_to(tmp_path / "elsewhere")
    for name, text in request.param.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_collect_writes_down_what_dvc_would_call_the_sources(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    with suppress(UserError):  # nothing is left, where the rules leave out all
        collect(CollectConfig(), Path("data/sources"), Path("data/collect"))
    assert sources_as_read() in ("", of_dvc(repository, repository / "data/sources"))
    assert sources_as_read() or not survey(Path("data/sources"), 10**6).files


def test_nothing_is_read_that_dvc_passes_over(repository: Path) -> None:
    """Else an edit of it would not be noticed."""
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    rules = DvcIgnoreFilter(localfs, str(repository))
    sources = repository / "data/sources"
    seen = {f"{folder}/{name}" for folder, _, names in rules.walk(localfs, str(sources)) for name in names}
    found = survey(sources, 10**6)
    read = {str(sources / source.replace("\\\\", "\\")) for source in found.files["source"].to_pylist()}
    assert read <= seen
    assert {path for path in seen if path.endswith(".md")} <= read


def test_no_file_at_all() -> None:
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    tree.digest()
    assert content_of(KNOWN.empty_table()) == tree.hash_info.value
