"""Version of privllm as it is installed: what pip has noted, not what a pyproject.toml says."""

DISTRIBUTION = "privllm"


def installed_version() -> str | None:
    """Return the version of the installed privllm, None where it is imported without being installed."""
    from importlib.metadata import PackageNotFoundError, version  # not above: it takes 0.03 s of every command

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return None
