"""Libraries and programs that count for the results that they made, and not for all results of a stage.

`collect` keeps with every file the versions of what its reader needs (`collect.reader_versions`). So
these libraries stand in its fingerprint, and an upgrade runs the stage, but the code by which its
store and its memory are known leaves them out.
"""

import json

from privllm.core.seed import digest

APART: dict[str, frozenset[str]] = {
    "collect": frozenset({"brotli", "charset-normalizer", "fastwarc", "orjson", "pypdfium2", "resiliparse"})
}


def code_digest(stage: str, fingerprint: bytes) -> str:
    """Return the digest of a stage's fingerprint (a file of `engine.fingerprint`) without its libraries apart and programs."""
    apart = APART.get(stage)
    if apart is None:
        return digest(fingerprint)
    content = json.loads(fingerprint)
    libraries = {dist: version for dist, version in content["libraries"].items() if dist not in apart}
    content.pop("programs", None)
    return digest(json.dumps(content | {"libraries": libraries}, sort_keys=True).encode())
