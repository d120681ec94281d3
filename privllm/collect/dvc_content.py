"""DVC's name for the content of the sources, computed from the bytes that `collect` read.

DVC hashes a stage's dependencies after the stage has ended, so a file that is saved in between
would be recorded with the result of its previous bytes. `collect` records the name of what it has
read; `engine.source_guard` compares it with the name that DVC has recorded.
"""

import json
from contextlib import suppress
from hashlib import md5
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.documents import path_of
from privllm.collect.file_index import KNOWN, recall
from privllm.collect.files import survey
from privllm.engine.digests import md5_of

BATCH = 4096
UNLIMITED = 1 << 62


def tracked_files(folder: Path) -> pa.Table:
    """Return every file of a folder that DVC tracks (`file_index.FILES`), whatever it is."""
    files_below = survey(folder, UNLIMITED)
    return pa.concat_tables([files_below.files, files_below.unread])


def with_digests(folder: Path, files: pa.Table, index: Path | None) -> pa.Table:
    """Return `files` (FILES) below `folder` as KNOWN.

    Files that `index` does not know are hashed; the MD5 is "" where that fails.
    """
    recalled = recall(index, files) if index else pa.repeat("", len(files))
    digests = recalled.to_pylist()
    for row, source in enumerate(files["source"].to_pylist()):
        if not digests[row]:
            with suppress(OSError):
                digests[row] = md5_of(path_of(source, folder))
    return files.append_column("md5", pa.array(digests, pa.string())).cast(KNOWN)


def paths_of(files: pa.Table) -> list[str]:
    """Return the paths of files ("source"), in which a backslash stands once."""
    return [source.replace("\\\\", "\\") for source in files["source"].to_pylist()]


def content_of(files: pa.Table) -> str:
    """Return the MD5 that dvc.lock has for a folder of files ("source", "md5"): "....dir".

    It is that of a JSON list of paths and MD5s in the order of their paths
    (`dvc_data.hashfile.tree.Tree`).
    """
    paths = files["source"]
    if pc.any(pc.match_substring(paths, "\\")).as_py():
        paths = pa.array(paths_of(files), pa.string())
    order = pc.sort_indices(paths)
    hashed = md5(b"[", usedforsecurity=False)
    for start in range(0, len(order), BATCH):
        rows = order.slice(start, BATCH)
        batch = zip(files["md5"].take(rows).to_pylist(), paths.take(rows).to_pylist(), strict=True)
        entries = ", ".join(json.dumps({"md5": digest, "relpath": path}) for digest, path in batch)
        separator = ", " if start else ""
        hashed.update(f"{separator}{entries}".encode())
    hashed.update(b"]")
    return f"{hashed.hexdigest()}.dir"
