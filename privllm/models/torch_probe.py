"""Probe of torch: version, build and GPUs as JSON on stdout.

Run as a file in a process of its own and never imported: a broken installation of torch can end the
process that imports it, and importing takes seconds. So nothing of ours is imported here.
"""

import json
import sys
import warnings
from typing import Any


def probe() -> dict[str, Any]:
    """Return {"version", "cuda", "gpus": [{"name", "bytes"}], "reason"}; {"error"} where torch cannot be imported.

    `cuda` is the version that torch was built for ("" for a CPU build), `reason` why no GPU can be used.
    """
    try:
        import torch
    except Exception as error:  # a library that does not load raises OSError, one that is half installed anything
        return {"error": f"{type(error).__name__}: {error}"}
    built_for = torch.version.cuda or ""
    if not built_for and torch.version.hip:
        built_for = f"ROCm {torch.version.hip}"
    gpus = []
    reason = ""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if torch.cuda.is_available():
                for index in range(torch.cuda.device_count()):
                    properties = torch.cuda.get_device_properties(index)
                    gpus.append({"name": properties.name, "bytes": properties.total_memory})
            elif built_for:
                torch.cuda.init()  # it says why there is none
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
    if caught and not gpus:
        reason = str(caught[0].message)
    return {"version": torch.__version__, "cuda": built_for, "gpus": gpus, "reason": " ".join(reason.split())}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
