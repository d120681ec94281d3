"""The name that DVC gives to the content of the sources, computed from what `collect` read of them.

DVC hashes a stage's dependencies after the stage has ended, so a file that is saved in between would be recorded with the result of
the old one. `collect` writes down here what it has read; `core.sources` compares that with what DVC has recorded.
"""

import json
from hashlib import md5

import pyarrow as pa
import pyarrow.compute as pc

BATCH = 4096


def content_of(files: pa.Table) -> str:
    """Return the MD5 that DVC gives a folder with these files ("source", "md5"), as dvc.lock has it: "....dir".

    It is that of a JSON list of paths and MD5s in the order of their paths (`dvc_data.hashfile.tree.Tree`).
    """
    paths = files["source"]
    if pc.any(pc.match_substring(paths, "\\")).as_py():  # a backslash in a name stands twice in a source
        paths = pa.array([path.replace("\\\\", "\\") for path in paths.to_pylist()], pa.string())
    order = pc.sort_indices(paths)
    hashed = md5(b"[", usedforsecurity=False)
    for start in range(0, len(order), BATCH):
        rows = order.slice(start, BATCH)
        pairs = zip(paths.take(rows).to_pylist(), files["md5"].take(rows).to_pylist(), strict=True)
        entries = ", ".join(json.dumps({"md5": digest, "relpath": path}) for path, digest in pairs)
        hashed.update(f"{', ' if start else ''}{entries}".encode())
    hashed.update(b"]")
    return f"{hashed.hexdigest()}.dir"
