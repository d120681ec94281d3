"""The command that packs an installation for machines without a network: `privllm bundle`."""

from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.error_handling import commands_of
from privllm.core.printable import say
from privllm.engine.pipeline import require_root


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    commands_of(app)(bundle)


def bundle(
    out: Annotated[
        Path | None,
        typer.Option(help="The archive to write; privllm-VERSION-MACHINE.tar otherwise.", show_default=False),
    ] = None,
    torch: Annotated[
        str, typer.Option(metavar="cpu|as-installed", help="torch for the CPU, or the build that is installed here.")
    ] = "as-installed",
    wheel: Annotated[
        Path | None,
        typer.Option(help="privllm's own wheel; a clone builds it, and pip remembers a file.", show_default=False),
    ] = None,
    platform: Annotated[
        str, typer.Option(help="linux-x86_64, linux-aarch64 or macos-arm64; this machine otherwise.")
    ] = "",
    python_version: Annotated[str, typer.Option(help="3.11, 3.12 or 3.13; that of this Python otherwise.")] = "",
) -> None:
    """Pack an installation into one archive, for a machine without a network: all wheels that requirements.lock pins, torch, privllm
    and the documentation.

    This command is the one that needs a network: pip downloads what is missing, checked by the lock's hashes, into
    .privllm/bundle. Stop it whenever you like, and run it again. The archive's install.sh checks every file, and installs with
    no network.
    """
    from privllm.project.bundle import make_bundle
    from privllm.project.platforms import target_of

    require_root()

    def progress(line: str) -> None:
        say(line, err=True)

    for line in make_bundle(out, target_of(platform, python_version), torch, wheel, progress).lines():
        say(line)
