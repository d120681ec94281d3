"""The standard library's documentation as HTML pages: a program of its own, run by `collect.demo`.

    python -S -P pydoc_pages.py FOLDER JOBS < names      writes FOLDER/<name>.html, prints each name when it is done

To document a module, pydoc imports it, and some modules act when imported. So each is rendered in a process of its
own, with a time limit, where connecting, starting programs and writing elsewhere are refused. What differs between
machines and runs is not shown: files' places, values of data but for small numbers, memory addresses.

It imports nothing of ours, so that it also runs without the packages that we need.
"""

import importlib
import inspect
import os
import pydoc
import re
import signal
import sys
from pathlib import Path
from typing import Any

SECONDS = 20  # for one module
ADDRESS = re.compile(r"(?: |&nbsp;)at(?: |&nbsp;)0x[0-9a-fA-F]+")
SIGNATURE = inspect.signature  # pydoc asks for it by this name, so `plain_signature` takes its place
REFUSED = {"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "webbrowser.open", "subprocess.Popen", "pty.spawn"}
REFUSED |= {"os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.chmod", "os.link", "os.symlink"}
REFUSED |= {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "shutil.rmtree"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Impersonal(pydoc.HTMLDoc):
    """pydoc's pages without what belongs to one machine or one run."""

    def filelink(self, url: str, path: str) -> str:
        return "(standard library)"

    def docother(self, object: Any, name: str | None = None, mod: Any = None, *ignored: Any) -> str:
        shown = repr(object) if type(object) in (int, bool, type(None)) else f"({type(object).__name__})"
        return f"<strong>{name}</strong> = {self.escape(shown)}" if name else self.escape(shown)


class Default:
    """Stands for a parameter's default value and prints what of it is the same everywhere."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        value = self.value
        if isinstance(value, type) or inspect.isroutine(value):
            return value.__name__
        if type(value) is tuple:
            return repr(tuple(map(Default, value)))
        plain = type(value) in (int, float, bool, type(None)) or (type(value) in (str, bytes) and os.sep not in repr(value))
        return repr(value) if plain else f"({type(value).__name__})"


def plain_signature(*arguments: Any, **options: Any) -> inspect.Signature:
    """`inspect.signature` whose defaults show no path, environment or address."""
    found = SIGNATURE(*arguments, **options)
    parameters = [each if each.default is each.empty else each.replace(default=Default(each.default)) for each in found.parameters.values()]
    return found.replace(parameters=parameters)


def render(name: str) -> str:
    """The page of one module. Raises whatever importing it raises."""
    module = importlib.import_module(name)
    inspect.signature = plain_signature
    writer = Impersonal()
    page = writer.page(pydoc.describe(module), writer.document(module, name))
    return ADDRESS.sub("", page).replace(str(Path(os.__file__).parent), "")


def write_page(name: str, folder: Path) -> None:
    """Render and write `<name>.html`, whole or not at all."""
    page = render(name)
    part = folder / f".{name}.html"
    part.write_text(page, "utf-8", "replace")
    part.replace(folder / f"{name}.html")


def harmless(folder: Path) -> None:
    """From here on this process may read, think, and write into `folder`."""

    home = f"{folder}{os.sep}"

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] & WRITING and arguments[0] != os.devnull
        if (writes or event in REFUSED) and not (event in ("open", "os.rename") and str(arguments[0]).startswith(home)):
            raise PermissionError(event)

    sys.addaudithook(refuse)


def start(name: str, folder: Path) -> int:
    """Write the page in a child process; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(SECONDS)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        harmless(folder)
        write_page(name, folder)
        os._exit(0)
    except BaseException:
        os._exit(1)


def main() -> None:
    folder, jobs = Path(sys.argv[1]), int(sys.argv[2])
    running: dict[int, str] = {}
    for name in sys.stdin.read().split():
        if len(running) >= jobs:
            reap(running)
        running[start(name, folder)] = name
    while running:
        reap(running)


def reap(running: dict[int, str]) -> None:
    pid, _ = os.wait()
    print(running.pop(pid), flush=True)


if __name__ == "__main__":
    main()
