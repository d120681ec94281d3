"""Source code: one document a file, read as it is, where `collect.code` is true."""

from collections.abc import Iterator
from typing import ClassVar

from privllm.collect.decode import decode
from privllm.collect.readers.reader import Reader, Row, read_one, suffix_of
from privllm.collect.source_file import SourceFile

LANGUAGES = {
    "python": (".py", ".pyi"),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "typescript": (".ts", ".tsx"),
    "java": (".java",),
    "kotlin": (".kt", ".kts"),
    "scala": (".scala",),
    "c": (".c", ".h"),
    "c++": (".cc", ".cpp", ".cxx", ".hh", ".hpp"),
    "csharp": (".cs",),
    "go": (".go",),
    "rust": (".rs",),
    "swift": (".swift",),
    "ruby": (".rb",),
    "php": (".php",),
    "perl": (".pl", ".pm"),
    "lua": (".lua",),
    "r": (".r",),
    "julia": (".jl",),
    "haskell": (".hs",),
    "shellscript": (".sh", ".bash"),
    "sql": (".sql",),
}


class CodeReader(Reader):
    """Files of programming languages."""

    media_types: ClassVar = {
        suffix: f"text/x-{language}" for language, suffixes in LANGUAGES.items() for suffix in suffixes
    }
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the code, or why it cannot be read."""
        yield read_one(file, self.media_types[suffix_of(file.name)], decode)
