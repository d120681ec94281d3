"""Stages of the dvc.yaml in the working directory as DVC expands them.

They go to stdout as JSON, {stage: declaration}.

Run as a process, never imported: a stage that imported DVC would have DVC and all below it among
its libraries.
"""

import json
import sys


def main() -> int:
    """Print the stages and return the exit code; what DVC finds wrong goes to stderr."""
    from dvc.dvcfile import ProjectFile
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(".") as repo:
            resolver = ProjectFile(repo, "dvc.yaml").resolver
            stages = {name: resolver.resolve_one(name)[name] for name in resolver.get_keys()}
    except DvcException as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(stages, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
