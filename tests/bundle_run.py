"""`python -m tests.bundle_run`: the whole bundle for this machine, installed where there is no network, and a project started there.

Takes minutes, a network for the download and 5 GB of disk; `unshare -rn` then takes the network away. Prints a transcript: each command
with its seconds, then the sizes.
"""

import re
import sys
import tempfile
from pathlib import Path

from tests.namespaces import FORBIDDEN, NO_NETWORK
from tests.wheel import Shell, copy_tree, megabytes


def main() -> None:
    if not NO_NETWORK:
        sys.exit(FORBIDDEN)
    with tempfile.TemporaryDirectory(prefix="privllm-bundle-") as scratch:
        folder = Path(scratch)
        copy_tree(folder / "clone", "")
        clone = Shell(folder / "clone", Path(sys.prefix))
        first = clone.run("python", "-m", "privllm.cli", "bundle", "--out", str(folder / "first.tar"))
        clone.run("python", "-m", "privllm.cli", "bundle", "--out", str(folder / "second.tar"))
        assert (folder / "first.tar").read_bytes() == (folder / "second.tar").read_bytes(), "two bundles differ"
        print(first)
        unpacked = re.search(r"sh (\S+)/install\.sh", first)
        assert unpacked is not None
        environment = folder / "environment"
        there = Shell(folder, environment)
        there.variables = {**there.variables, "PYTHON": sys.executable}
        there.run("tar", "-xf", "first.tar")
        there.run(*NO_NETWORK, "sh", f"{unpacked[1]}/install.sh", str(environment))
        assert there.run(*NO_NETWORK, "privllm", "--version").startswith("privllm ")
        there.run(*NO_NETWORK, "privllm", "init", "handbook")
        there.folder = folder / "handbook"
        said = there.run(*NO_NETWORK, "privllm", "doctor")
        assert re.search(r"ok +libraries +\d+ as requirements.lock pins them", said), said
        print(
            f"{(folder / 'first.tar').stat().st_size / 1e6:,.0f} MB of archive, {megabytes(environment):,} MB installed"
        )


if __name__ == "__main__":
    main()
