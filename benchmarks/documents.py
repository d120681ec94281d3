"""Documents of many formats: processor seconds of ours against a named peer on the same files, in turn, medians of five rounds.

    pip install --target PEERS 'markitdown[pdf,docx,pptx,xlsx]' warcio
    python -m benchmarks.documents FOLDER PEERS [pdf docx ...]

FOLDER holds the files, of any formats, in any folders. Of each format both read all files that the peer can read: markitdown PDF,
Office, and books, the standard library mail, warcio web archives, each in a process of its own. A round reads all files once; a first
one that does not count loads the libraries. Seconds are those of the processor, so that what else runs on the machine counts little.
"""

import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result

ROUNDS = 5
LIMIT = 1 << 30  # bytes of a document
FORMATS = {  # {name: (suffixes, peer, least ratio of its seconds to ours that we claim)}
    "pdf": ((".pdf",), "markitdown", 3.0),
    "docx": ((".docx",), "markitdown", 3.0),
    "pptx": ((".pptx",), "markitdown", 3.0),
    "xlsx": ((".xlsx",), "markitdown", 3.0),
    "epub": ((".epub",), "markitdown", 3.0),
    "eml": ((".eml",), "stdlib", 1.0),
    "mbox": ((".mbox",), "stdlib", 1.0),
    "warc": ((".warc", ".warc.gz"), "warcio", 2.0),
    "arc": ((".arc", ".arc.gz"), "warcio", 2.0),
}
Read = Callable[[Path], int]  # a file, and the characters or bytes that it gave


def ours(path: Path) -> int:
    from privllm.collect.documents import CollectedDocument
    from privllm.collect.read_file import read_file

    rows = read_file(path, path.parent, LIMIT)
    return sum(len(row.text) for row in rows if isinstance(row, CollectedDocument))


def ours_as_markdown(path: Path) -> int:
    """Chapters as light Markdown, with all that `clean` does to a document."""
    from privllm.clean.recipe import CleanConfig, clean_document
    from privllm.collect.documents import CollectedDocument
    from privllm.collect.read_file import read_file

    rows = read_file(path, path.parent, LIMIT)
    documents = [row for row in rows if isinstance(row, CollectedDocument)]
    return sum(len(clean_document(CleanConfig(), row.media_type, row.text).text) for row in documents)


def ours_unpacked(path: Path) -> int:
    """Pages as files, as warcio gives them; their readers come later."""
    from privllm.collect.read_file import FileReading
    from privllm.collect.source_file import SourceFile

    parts = FileReading(LIMIT).parts(SourceFile.at(path, path.parent))
    return sum(part.size for part in parts if isinstance(part, SourceFile))


def markitdown() -> Read:
    from markitdown import MarkItDown

    converter = MarkItDown(enable_plugins=False)
    return lambda path: len(converter.convert(path).text_content)


def stdlib(path: Path) -> int:
    import mailbox
    from email import message_from_binary_file, policy
    from email.message import EmailMessage

    if path.suffix == ".mbox":
        messages: list[EmailMessage] = []
        box = mailbox.mbox(path, factory=lambda file: message_from_binary_file(file, policy=policy.default))  # type: ignore[arg-type]
        messages = list(box)  # type: ignore[arg-type]
    else:
        with path.open("rb") as file:
            messages = [message_from_binary_file(file, policy=policy.default)]  # type: ignore[list-item]
    characters = 0
    for message in messages:
        body = message.get_body(("plain", "html"))
        try:
            characters += len(body.get_content()) if body else 0
        except (LookupError, ValueError):  # a charset that it does not know
            continue
    return characters


def warcio(path: Path) -> int:
    from warcio.archiveiterator import ArchiveIterator

    size = 0
    with path.open("rb") as file:
        for record in ArchiveIterator(file, arc2warc=True):
            is_page = record.rec_type in ("response", "resource", "conversion")
            if is_page and (not record.http_headers or record.http_headers.get_statuscode() == "200"):
                size += len(record.content_stream().read())
    return size


def reader_called(name: str, kind: str) -> Read:
    if name == "ours":
        return {"warc": ours_unpacked, "arc": ours_unpacked, "epub": ours_as_markdown}.get(kind, ours)
    return {"markitdown": markitdown, "stdlib": lambda: stdlib, "warcio": lambda: warcio}[name]()


def child(name: str, kind: str, peers: str) -> None:
    """For each line of paths that comes in, read the files and answer with seconds, sizes and those that failed."""
    if name != "ours":
        sys.path.append(peers)
    answers, sys.stdout = sys.stdout, io.StringIO()
    read = reader_called(name, kind)
    for line in sys.stdin:
        start, size, failed = processor_seconds(), 0, []
        for path in json.loads(line):
            try:
                size += read(Path(path))
            except Exception:  # whatever a peer raises for a file that it cannot read
                failed.append(path)
        print(json.dumps([processor_seconds() - start, size, failed]), file=answers, flush=True)


def processor_seconds() -> float:
    """Return the seconds of this process, and of the process of its parsers."""
    from privllm.collect import parser_process

    ticks = 0
    if parser := parser_process._child:
        fields = Path(f"/proc/{parser.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


class Child:
    """A process that reads files."""

    def __init__(self, name: str, kind: str, peers: str) -> None:
        command = [sys.executable, "-m", "benchmarks.documents", "--child", name, kind, peers]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, cwd=ROOT, **pipes)

    def read(self, files: list[str]) -> tuple[float, int, list[str]]:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(files), file=self.process.stdin, flush=True)
        seconds, size, failed = json.loads(self.process.stdout.readline())
        return seconds, size, failed


def compared(kind: str, files: list[str], peers: str) -> dict[str, Any]:
    """Return the figures of one format."""
    _, peer, least = FORMATS[kind]
    readers = {name: Child(name, kind, peers) for name in ("ours", peer)}
    *_, failed = readers[peer].read(files)
    both = [file for file in files if file not in failed]
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    sizes = {}
    readers["ours"].read(both)
    for _ in range(ROUNDS):
        for name, reader in readers.items():
            spent, sizes[name], _ = reader.read(both)
            seconds[name].append(spent)
    for reader in readers.values():
        reader.process.kill()
        reader.process.wait()
    medians = {name: statistics.median(spent) for name, spent in seconds.items()}
    return {
        "files": len(both),
        "megabytes": sum(Path(file).stat().st_size for file in both) / 1e6,
        "peer": peer,
        "peer_failed": len(failed),
        "ours_seconds": medians["ours"],
        "peer_seconds": medians[peer],
        "ours_characters": sizes["ours"],
        "peer_characters": sizes[peer],
        "ratio": medians[peer] / medians["ours"],
        "claimed": least,
    }


def files_of(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    return sorted(str(path.resolve()) for path in folder.rglob("*") if path.name.lower().endswith(suffixes))


def rows(folder: Path, peers: str, kinds: list[str]) -> Iterator[dict[str, Any]]:
    print("| format | files | MB | ours, s | peer | its s | ratio | claimed | characters, ours to peer's |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        files = files_of(folder, FORMATS[kind][0])
        if not files:
            continue
        row = compared(kind, files, peers)
        share = row["ours_characters"] / max(1, row["peer_characters"])
        print(
            f"| {kind} | {row['files']} | {row['megabytes']:.2f} | {row['ours_seconds']:.3f} | {row['peer']} | "
            f"{row['peer_seconds']:.3f} | {row['ratio']:.2f} | {row['claimed']:.0f} | {share:.2f} |",
            flush=True,
        )
        yield {"format": kind, **row}


def main(words: list[str]) -> None:
    if len(words) < 2 or not Path(words[0]).is_dir() or not Path(words[1]).is_dir():
        raise SystemExit(__doc__)
    results = list(rows(Path(words[0]), str(Path(words[1]).resolve()), words[2:] or list(FORMATS)))
    write_result("documents", {"rows": results})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5])
    else:
        main(sys.argv[1:])
