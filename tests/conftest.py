"""What every test shares: offline switches, Hypothesis without wall-clock deadlines, lanes, and what CI must not skip."""

import gc
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import privllm.core.offline  # noqa: F401
from tests.lanes import lanes_of

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
# `make test-fast` asks for this one by --hypothesis-profile.
settings.register_profile("fast", parent=settings.get_profile("default"), max_examples=20)
# Ten times as many examples as by default.
settings.register_profile("nightly", parent=settings.get_profile("default"), max_examples=1000, print_blob=True)
SECONDS = {"build": 8.0, "training": 2.0, "slow": 2.0}  # of a test, by its lane, with all others beside it
NIGHTLY = os.environ.get("PRIVLLM_NIGHTLY") == "1"
settings.load_profile("nightly" if NIGHTLY else "ci" if os.environ.get("CI") else "default")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without Python's garbage collector, which takes 40 % of the time and finds nothing: what is imported stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Before `-m` chooses."""
    if isinstance(item, pytest.Function):
        for lane in sorted(lanes_of(item)):
            item.add_marker(lane)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: one that is begun last leaves the other cores idle."""

    def seconds(item: pytest.Item) -> float:
        """Return roughly how long a test takes."""
        marker = item.get_closest_marker("seconds")
        if marker:
            return marker.args[0]
        return max([0.1, *(count for name, count in SECONDS.items() if item.get_closest_marker(name))])

    of_file: dict[Path, float] = {}
    for item in items:
        of_file[item.path] = of_file.get(item.path, 0) + seconds(item)
    items.sort(key=lambda item: -of_file[item.path])


@pytest.fixture(autouse=True)
def _no_extension_stays() -> Generator[None, None, None]:
    """What a test has imported of a project's extensions is not there in the next one."""
    yield
    if "extensions" in sys.modules:  # a package is imported before what is in it
        from tests.extend import clear_caches

        clear_caches()
        for name in [name for name in sys.modules if name.partition(".")[0] == "extensions"]:
            del sys.modules[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On CI a proof that is skipped is no proof: it fails."""
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("proof"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI must run this test, and it was skipped. {reason}"
    return report
