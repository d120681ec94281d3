"""Refuses a Python that privllm does not work with, in a sentence. Any Python can read this file: no f-strings, no annotations."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    version = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit(
        "\nerror: privllm needs Python 3.11, 3.12 or 3.13, and " + sys.executable + " is Python " + version + ". "
        "Run `make setup PYTHON=python3.11` (or 3.12, 3.13), then `source .venv/bin/activate`.\n"
    )
