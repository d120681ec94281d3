"""A program called tesseract that does what a test says, and the real one where it is installed."""

import shutil
import sys
from pathlib import Path

import pytest

VERSION = 'case "$1" in --version) echo tesseract 9.9; exit 0;; --list-langs) echo "List in \\"{0}\\" (1):"; echo eng; exit 0;; esac\n'
PAGE = "level\\tpage_num\\tblock_num\\tpar_num\\tline_num\\tword_num\\tleft\\ttop\\twidth\\theight\\tconf\\ttext\\n"

needs_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="tesseract is not installed")


def install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch, version: str = "9.9") -> Path:
    """Put a `tesseract` that runs a shell script on a page first in PATH."""
    (folder / "eng.traineddata").write_bytes(b"what it knows of English")
    program = folder / "tesseract"
    program.write_text(f"#!/bin/sh\n{VERSION.format(folder).replace('9.9', version)}{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin")
    return program


def words(*rows: str) -> str:
    """Return a script that gives these words, "line confidence text" each."""
    cells = []
    for place, row in enumerate(rows):
        line, confidence, text = row.split(" ", 2)
        cells.append(
            f"5\\t1\\t1\\t1\\t{line}\\t{place}\\t{100 * place}\\t{100 + 50 * int(line)}\\t80\\t40\\t{confidence}\\t{text}\\n"
        )
    return f"cat > /dev/null; printf '{PAGE}{''.join(cells)}'"
