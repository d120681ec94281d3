"""The fixtures of a server's tests serve those of exports."""

from tests.serve.conftest import *  # noqa: F403
