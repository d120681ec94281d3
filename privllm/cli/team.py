"""The commands of a team that shares a remote: `privllm push` and `privllm pull`.

Each parses, calls one function of `privllm.manage`, and prints.
"""

from typing import Annotated

import typer

from privllm.cli.error_handling import commands_of
from privllm.core.printable import say
from privllm.engine.pipeline import require_root

RemoteName = Annotated[
    str, typer.Option("--remote", "-r", help="A remote of `dvc remote list`; DVC's default otherwise.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Files at a time; DVC's number otherwise.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for function in (push, pull):
        commands_of(app)(function)


def push(
    remote: RemoteName = "",
    jobs: Jobs = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove from the remote the actions that this build does not use.")
    ] = False,
) -> None:
    """Do as `dvc push` does, and send the actions too: what each shard became, so that others need not
    make it again.

    The first edit in a fresh clone after `privllm pull` then makes one shard, not all. Only what the
    remote lacks travels, and only what belongs to the documents of this build. Stop it whenever you
    like, and run it again.
    """
    from privllm.manage.push import push as push_build

    require_root()
    for line in push_build(remote, jobs, prune).lines():
        say(line)


def pull(
    remote: RemoteName = "",
    jobs: Jobs = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Arrived actions to make again before any is taken; 0 trusts the remote.")
    ] = 3,
    seed: Annotated[int | None, typer.Option(help="The same seed selects the same sample.")] = None,
) -> None:
    """Do as `dvc pull` does, and take the actions that this build can use; the exit code is 1 where
    something is refused.

    What comes from a remote is not trusted. Every object must have the MD5 of its name, an action that
    is broken is left out by name, and if one of the sample differs from what the code here makes,
    none is taken.
    """
    from random import SystemRandom

    from privllm.manage.pull import pull as pull_build

    require_root()
    if seed is None:
        seed = SystemRandom().randrange(10**6)
    result = pull_build(remote, jobs, sample, seed)
    for line in result.lines():
        say(line)
    if result.refused:
        raise typer.Exit(1)
