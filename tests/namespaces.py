"""Networks of their own, where the kernel allows them to whoever runs the tests: what runs in one reaches nobody."""

import shutil
import subprocess

FORBIDDEN = "needs a network namespace (`unshare -rn`), which this machine does not allow: nothing proves that no network is used"


def works(*command: str) -> bool:
    """Whether a command ends well; False where it is not installed."""
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


# What precedes a command that shall have no network, [] where this machine cannot do that.
NO_NETWORK = ["unshare", "-rn"] if works("unshare", "-rn", "true") else []
