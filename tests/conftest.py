"""What every test shares: offline switches, Hypothesis without wall-clock deadlines, and what CI must not skip."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

import privllm.core.offline  # noqa: F401

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On CI a proof that is skipped is no proof: it fails."""
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("proof"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI must run this test, and it was skipped. {reason}"
    return report
