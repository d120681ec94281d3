"""A DVC remote, and the store's actions in it.

DVC itself opens the remote, so every kind that DVC knows works: a folder, S3, SSH and others. Objects
lie where DVC keeps its own, so that `dvc gc --cloud` removes them with all others that no build needs.
Actions lie beside them, one small file each, in `privllm/actions/<code>/<key>-<MD5 of the file>.json`.
A file is never changed, so two clones may write at once. Nothing here trusts what it reads:
`manage.travelling` parses it.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from privllm.core.errors import UserError
from privllm.core.progress import bar

NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{32})\.json")  # key, MD5 of the file
MAX_ACTIONS = 1_000_000  # of one code: 4,096 shards in two hundred states
SETUP = (
    "`dvc remote add -d storage /mnt/team/storage` names a folder, `dvc remote add -d storage s3://bucket/folder` "
    "S3 (`make s3` installs what that needs). Then commit .dvc/config and run it again."
)
Item = TypeVar("Item")


class RemoteAction(NamedTuple):
    """The file of an action in a remote, as its path describes it."""

    path: str
    code: str
    key: str
    md5: str  # of the file
    bytes: int


class Remote:
    """A remote of the DVC repository in the working directory. Made by `open_remote`."""

    def __init__(self, repo: Any, name: str, jobs: int | None) -> None:
        self.repo, self.name, self.jobs = repo, name, jobs
        self.odb = repo.cloud.get_remote_odb(name, "push")
        self.fs = self.odb.fs
        self.folder = repo.cloud.get_remote(name).path
        self.url = self.fs.unstrip_protocol(self.folder)

    def forget_what_is_there(self) -> None:
        """Drop DVC's notes of what the remote has, so that it looks."""
        from dvc_data.hashfile.db import get_index

        get_index(self.odb).clear()

    def push_outputs(self) -> int:
        """Do as `dvc push` does; return how many files were sent."""
        return self.repo.push(remote=self.name, jobs=self.jobs)

    def fetch_outputs(self) -> int:
        """Do as `dvc fetch` does; return how many files arrived."""
        return self.repo.fetch(remote=self.name, jobs=self.jobs)

    def checkout(self) -> int:
        """Do as `dvc checkout --allow-missing` does; return how many outputs of the workspace changed.

        What a build of some stages leaves out is missing.
        """
        from dvc.exceptions import CheckoutError, DvcException

        try:
            changes = self.repo.checkout(allow_missing=True)
        except CheckoutError:
            raise
        except DvcException as error:
            raise UserError(
                f"{error} What was edited here would be lost: `dvc status` names it. Commit it (`dvc add`, `git commit`) "
                "or take it back (`dvc checkout --force`), then run it again."
            ) from error
        return sum(len(changes[kind]) for kind in ("added", "modified", "deleted"))

    def push_objects(self, md5s: Iterable[str]) -> int:
        """Send the objects that the remote lacks; return how many these were."""
        result = self.repo.cloud.push(_hashes(md5s), jobs=self.jobs, odb=self.odb)
        if result.failed:
            raise OSError(f"{len(result.failed)} objects could not be sent")
        return len(result.transferred)

    def fetch_objects(self, md5s: Iterable[str]) -> None:
        """Fetch objects into the cache. Those that are missing or damaged in the remote do not arrive."""
        self.repo.cloud.pull(_hashes(md5s), jobs=self.jobs, odb=self.odb)

    def actions(self, code: str = "") -> dict[str, int]:
        """Return {path: bytes} of every file of the actions of a code, or of all codes."""
        folder = self.fs.join(self.folder, "privllm", "actions", *([code] if code else []))
        files = dict(self._files(folder))
        if len(files) > MAX_ACTIONS:
            raise UserError(f"the remote `{self.name}` has more than {MAX_ACTIONS:,} files in {folder}: remove some.")
        return files

    def _files(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield the path and the size of each file below a folder of the remote."""
        self.fs.fs.invalidate_cache()
        if self.fs.protocol == "local":
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and path.suffix != ".tmp":  # DVC writes under such a name first
                    yield str(path), path.stat().st_size
            return
        try:
            found = self.fs.fs.find(folder, detail=True)
        except FileNotFoundError:
            return
        for path in sorted(found):
            yield path, int(found[path].get("size") or 0)

    def action_path(self, code: str, key: str, md5: str) -> str:
        """Return where an action lies, or would lie."""
        return self.fs.join(self.folder, "privllm", "actions", code, f"{key}-{md5}.json")

    def send(self, source: Path, path: str) -> None:
        """Write a file to the remote."""
        self.fs.makedirs(self.fs.parent(path))
        self.fs.put_file(str(source), path)

    def read(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a file in the remote."""
        return self.fs.cat_file(path, start=0, end=limit)

    def remove(self, path: str) -> None:
        """Remove a file from the remote."""
        self.fs.rm_file(path)

    def each(self, label: str, work: Callable[[Item], None], items: list[Item]) -> None:
        """Call `work` with each item, several at a time, with a progress bar."""
        if not items:
            return
        with (
            bar(f"{label} ({len(items):,})", len(items)) as advance,
            ThreadPoolExecutor(self.jobs or self.fs.jobs) as threads,
        ):
            try:
                for _ in threads.map(work, items):
                    advance()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise


def named_actions(files: Mapping[str, int], code: str) -> tuple[list[RemoteAction], dict[str, str]]:
    """Return the actions of a code among the files of its folder, and {path: what is wrong} of all other files.

    Two actions with one key contradict each other: one of them is false, so neither is taken.
    """
    by_key: dict[str, list[RemoteAction]] = defaultdict(list)
    refused = {}
    for path, size in files.items():
        match = NAME.fullmatch(path.rpartition("/")[2])
        if match is None:
            refused[path] = "its name is not that of an action"
        else:
            by_key[match[1]].append(RemoteAction(path, code, match[1], match[2], size))
    actions = []
    for rivals in by_key.values():
        if len(rivals) == 1:
            actions += rivals
        else:
            refused |= {rival.path: "there are two different results for one key" for rival in rivals}
    return actions, refused


def _hashes(md5s: Iterable[str]) -> set[Any]:
    from dvc_data.hashfile.hash_info import HashInfo

    return {HashInfo("md5", md5) for md5 in md5s}


@contextmanager
def open_remote(name: str, jobs: int | None) -> Iterator[Remote]:
    """Open the remote `name`, or DVC's default remote for "".

    Whatever goes wrong with it in the block becomes a UserError that says where and why.
    """
    from dvc.exceptions import DvcException
    from dvc.fs import RemoteMissingDepsError
    from dvc.repo import Repo

    if not Path(".dvc").is_dir():
        raise UserError("there is no DVC repository here: run this from the root of the repository.")
    faults = _FirstFault()
    with Repo(".") as repo:
        name = _name_of_remote(repo.config, name)
        # DVC then drops a file that is not what its name says. Each of its commands reads the configuration again.
        checked = {"remote": {other: {"verify": True} for other in repo.config["remote"]}}
    with _heard_by(faults), Repo(".", config=checked) as repo:
        try:
            yield Remote(repo, name, jobs)
        except UserError:
            raise
        except (RemoteMissingDepsError, ImportError) as error:
            url = repo.config["remote"][name]["url"]
            scheme = url.partition("://")[0]
            hint = "`make s3` installs it" if scheme == "s3" else f"`pip install dvc-{scheme}` adds it"
            raise UserError(f"the remote `{name}` ({url}) needs a library that is not installed: {hint}.") from error
        except (DvcException, OSError) as error:
            raise UserError(_reason(name, repo.config, error, faults)) from error
        except Exception as error:
            if not type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "asyncssh", "dvc")):
                raise
            raise UserError(_reason(name, repo.config, error, faults)) from error


def _name_of_remote(config: Any, name: str) -> str:
    """Return the name of the remote to use. Raises UserError where there is none."""
    names = sorted(config["remote"])
    if name and name not in names:
        have = f"there are {', '.join(names)}" if names else f"there is none: {SETUP}"
        raise UserError(f"there is no remote `{name}`; {have}")
    default = config["core"].get("remote")
    if name or default:
        return name or default
    if names:
        raise UserError(
            f"no remote is the default: name one with --remote ({', '.join(names)}), or run `dvc remote default {names[0]}`."
        )
    raise UserError(f"this repository has no remote. {SETUP}")


def _reason(name: str, config: Any, error: Exception, faults: "_FirstFault") -> str:
    """Return the message about a remote that did not do what it should."""
    url = config["remote"][name].get("url", "")
    cause = faults.cause or error
    text = f"{cause.strerror} ({cause.filename})" if isinstance(cause, OSError) and cause.strerror else str(cause)
    what = "" if cause is error else f"{error}; the first because of: "
    return (
        f"the remote `{name}` ({url}) failed: {what}{text or type(cause).__name__}. What has arrived stays: check that the "
        "remote is there and that you may read and write it, then run the same command again."
    )


class _FirstFault(logging.Handler):
    """Keeps the first error that DVC logs, and prints none: DVC counts failures, and logs a traceback for each."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.cause: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.cause is None and record.exc_info:
            self.cause = record.exc_info[1]


@contextmanager
def _heard_by(handler: logging.Handler) -> Iterator[None]:
    """Give the errors that DVC logs to `handler`, and what it logs to nobody else."""
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
