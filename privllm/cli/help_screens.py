"""Help screens: a switch is shown without a type, since it takes no value.

typer writes `--json <bool>`, after which people type `--json true`, which is an error.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption


class Command(TyperCommand):
    """A command whose help shows switches without a type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, among them `--help`."""
        return _without_types_of_switches(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose help shows switches without a type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, among them `--help`."""
        return _without_types_of_switches(super().get_params(ctx))


def _without_types_of_switches(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.display_type_rich = _no_type  # type: ignore[method-assign]
    return parameters


def _no_type(ctx: Any) -> None:
    """Return what a switch has in the column of types."""
