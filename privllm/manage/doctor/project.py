"""Checks of the project: the files of a build, git, DVC and its remote.

Each function returns a finding from what it is given. No remote is contacted.
"""

import configparser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from privllm.core.params import PARAMS_FILE
from privllm.engine.cache import config_files
from privllm.engine.pipeline import PIPELINE
from privllm.manage.doctor.finding import Finding, State
from privllm.manage.doctor.libraries import INSTALL_LOCK

PLUGINS = {  # what `dvc` needs for the address of a remote, beside what it comes with
    "s3": "dvc_s3",
    "gs": "dvc_gs",
    "azure": "dvc_azure",
    "ssh": "dvc_ssh",
    "hdfs": "dvc_hdfs",
    "webhdfs": "dvc_webhdfs",
    "oss": "dvc_oss",
    "gdrive": "dvc_gdrive",
    "webdav": "dvc_webdav",
    "webdavs": "dvc_webdav",
}


class Remote(NamedTuple):
    """A DVC remote as it is configured."""

    name: str
    url: str
    folder: Path | None  # where it is a folder of this machine
    is_default: bool


def project_finding(root: Path) -> Finding:
    """Return whether `root` is the root of a build. Outside of one only the installation can be checked."""
    lacking = [path.name for path in (root / PIPELINE, root / PARAMS_FILE) if not path.is_file()]
    if not lacking:
        return Finding("project", State.ok, str(root.resolve()))
    is_elsewhere = len(lacking) == 2
    reason = f"{' and '.join(lacking)} {'are' if is_elsewhere else 'is'} not in {root.resolve()}"
    if is_elsewhere:
        return Finding("project", State.warning, reason, "cd to the root of the repository, and ask again")
    return Finding("project", State.missing, reason, f"git checkout HEAD -- {lacking[0]}")


def git_finding(git: str | None, has_repository: bool, has_commit: bool) -> Finding:
    """Return whether git can tell revisions apart; `git` is the program."""
    if not git:
        return Finding("git", State.missing, "there is no git", "apt install git (Debian, Ubuntu), brew install git")
    if not has_repository:
        command = 'git init && git add -A && git commit -m "Start"'
        return Finding("git", State.missing, "this folder is in no repository", command)
    if not has_commit:
        command = 'git add -A && git commit -m "Start"'
        return Finding("git", State.warning, "there is no commit yet, so nothing can be compared or promoted", command)
    return Finding("git", State.ok, git)


def dvc_finding(version: str | None, on_path: str | None, scripts: Path, has_repository: bool) -> Finding:
    """Return whether `dvc repro` runs the DVC of this Python. `scripts` is the folder of its commands."""
    if version is None:
        return Finding("DVC", State.missing, "it is not installed", INSTALL_LOCK)
    activate = f"source {scripts / 'activate'}"
    if on_path is None:
        return Finding("DVC", State.warning, f"{version}, but `dvc` is not on PATH", activate)
    if Path(on_path).parent.resolve() != scripts.resolve():
        value = f"{version}, but `dvc` on PATH is {on_path}, of another Python"
        return Finding("DVC", State.warning, value, activate)
    if not has_repository:
        return Finding("DVC", State.missing, f"{version}, but .dvc is missing here", "dvc init")
    return Finding("DVC", State.ok, f"{version}, {on_path}")


def remotes_of(root: Path) -> list[Remote]:
    """Return the remotes that DVC's configuration names; a file of it that cannot be read counts as empty."""
    urls: dict[str, tuple[str, Path]] = {}
    default = ""
    for file in config_files(root):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        with suppress(configparser.Error, OSError, UnicodeDecodeError):
            parser.read(file, "utf-8")
        default = parser.get("core", "remote", fallback=default).strip("'\"")
        for section in parser.sections():
            kind, _, name = section.strip("'\"").partition(" ")
            url = parser.get(section, "url", fallback="")
            if kind == "remote" and url:
                urls[name.strip("'\"")] = url.strip("'\""), file.parent
    remotes = []
    for name, (url, folder) in urls.items():
        local = None if "://" in url and not url.startswith("file://") else folder / url.removeprefix("file://")
        remotes.append(Remote(name, url, local, name == default))
    return remotes


def remote_finding(remotes: Sequence[Remote], missing_plugin: str) -> Finding:
    """Return whether what is built can be pushed. `missing_plugin` is a module that the default remote needs."""
    if not remotes:
        value = "none: data and models exist on this machine only"
        return Finding("DVC remote", State.warning, value, "dvc remote add --default NAME /PATH/OR/URL")
    default = next((remote for remote in remotes if remote.is_default), None)
    if default is None:
        names = ", ".join(remote.name for remote in remotes)
        value = f"there are {names}, but none is the default"
        return Finding("DVC remote", State.warning, value, f"dvc remote default {remotes[0].name}")
    value = f"{default.name}, {without_secrets(default.url)}"
    if missing_plugin:
        command = f"pip install {missing_plugin.replace('_', '-')}"
        return Finding("DVC remote", State.warning, f"{value}: {missing_plugin} is not installed", command)
    if default.folder is None:
        return Finding("DVC remote", State.ok, f"{value} (not contacted)")
    if not default.folder.is_dir():
        return Finding("DVC remote", State.warning, f"{value}: there is no such folder", f"mkdir -p {default.folder}")
    return Finding("DVC remote", State.ok, value)


def plugin_of(remotes: Sequence[Remote]) -> str:
    """Return the module that the default remote needs, "" for none."""
    for remote in remotes:
        if remote.is_default:
            return PLUGINS.get(remote.url.partition("://")[0], "") if remote.folder is None else ""
    return ""


def without_secrets(url: str) -> str:
    """Return an address without the user and the password in it, and without a query."""
    parts = urlsplit(url) if "://" in url else None
    if parts is None:
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def parameters_finding(fault: str) -> Finding:
    """Return whether params.yaml is sound; `fault` is what is wrong with it."""
    if not fault:
        return Finding("parameters", State.ok, f"{PARAMS_FILE} is sound")
    return Finding("parameters", State.missing, fault.splitlines()[0].rstrip(":"), "privllm check")
