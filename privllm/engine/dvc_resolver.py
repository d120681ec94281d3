"""dvc.yaml of the working directory as DVC itself writes it out: {stage: what it declares}, as JSON on stdout.

Run as a process, never imported: a stage that imported DVC would have DVC and all below it among its libraries.
"""

import json
import sys


def main() -> int:
    """Print the stages; returns the exit code, and says on stderr what DVC says is wrong."""
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
