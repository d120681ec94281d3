"""A program that writes the standard library's documentation as HTML pages; `collect.demo` runs it.

    python -S -P pydoc_pages.py FOLDER JOBS < names      writes FOLDER/<name>.html, prints each name when it is done

To document a module, pydoc imports it, and some modules act when imported. So each is rendered in a
process of its own, with a time limit, where connecting, starting programs and writing elsewhere are
refused. What differs between machines and runs is left out: paths of files, values of data except
small numbers, memory addresses.

It imports no module of privllm, so that it also runs without the packages that privllm needs.
"""

import functools
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
REFUSED_EVENTS = {  # of audit hooks (PEP 578)
    *("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"),
    *("webbrowser.open", "subprocess.Popen", "pty.spawn", "os.system", "os.exec"),
    *("os.posix_spawn", "os.fork", "os.forkpty", "os.chmod", "os.link", "os.symlink"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "shutil.rmtree"),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Impersonal(pydoc.HTMLDoc):
    """pydoc's pages without what belongs to one machine or one run."""

    def filelink(self, url: str, path: str) -> str:
        return "(standard library)"

    def docother(self, object: Any, name: str | None = None, mod: Any = None, *ignored: Any) -> str:
        is_plain = type(object) in (int, bool, type(None))
        value = self.escape(repr(object) if is_plain else f"({type(object).__name__})")
        return f"<strong>{name}</strong> = {value}" if name else value


class Default:
    """A parameter's default value that prints only what is the same on every machine."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        value = self.value
        if isinstance(value, type) or inspect.isroutine(value):
            return value.__name__
        if type(value) is tuple:
            return repr(tuple(map(Default, value)))
        is_plain = type(value) in (int, float, bool, type(None))
        is_no_path = type(value) in (str, bytes) and os.sep not in repr(value)
        return repr(value) if is_plain or is_no_path else f"({type(value).__name__})"


@functools.wraps(SIGNATURE)  # the page of `inspect` shows it
def plain_signature(*arguments: Any, **options: Any) -> inspect.Signature:
    """Return `inspect.signature` with defaults that show no path, environment or address."""
    signature = SIGNATURE(*arguments, **options)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.default is not parameter.empty:
            parameter = parameter.replace(default=Default(parameter.default))
        parameters.append(parameter)
    return signature.replace(parameters=parameters)


def render(name: str) -> str:
    """Return the page of one module. Raises whatever importing it raises."""
    module = importlib.import_module(name)
    inspect.signature = plain_signature
    writer = Impersonal()
    page = writer.page(pydoc.describe(module), writer.document(module, name))
    return ADDRESS.sub("", page).replace(str(Path(os.__file__).parent), "")


def write_page(name: str, folder: Path) -> None:
    """Write `<name>.html`, whole or not at all."""
    page = render(name)
    partial = folder / f".{name}.html"
    partial.write_text(page, "utf-8", "replace")
    partial.replace(folder / f"{name}.html")


def restrict_to(folder: Path) -> None:
    """Forbid this process from now on all but reading, computing and writing into `folder`."""

    home = f"{folder}{os.sep}"

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        is_write = event == "open" and arguments[2] & WRITING and arguments[0] != os.devnull
        if not is_write and event not in REFUSED_EVENTS:
            return
        is_own_file = event in ("open", "os.rename") and str(arguments[0]).startswith(home)
        if not is_own_file:
            raise PermissionError(event)

    sys.addaudithook(refuse)


def start(name: str, folder: Path) -> int:
    """Write the page in a child process; return its id."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(SECONDS)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        restrict_to(folder)
        write_page(name, folder)
        os._exit(0)
    except BaseException:
        os._exit(1)


def main() -> None:
    """Write the pages of all modules, several at a time."""
    folder, jobs = Path(sys.argv[1]), int(sys.argv[2])
    running: dict[int, str] = {}
    for name in sys.stdin.read().split():
        if len(running) >= jobs:
            reap(running)
        running[start(name, folder)] = name
    while running:
        reap(running)


def reap(running: dict[int, str]) -> None:
    """Wait for a child process, and print its module's name."""
    pid, _ = os.wait()
    print(running.pop(pid), flush=True)


if __name__ == "__main__":
    main()
