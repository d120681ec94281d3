"""A model to serve, as the tests of `serve` make it."""

from tests.serve.conftest import built, exported  # noqa: F401
