"""The list of expectations: stable in number, told apart by name, with knobs that exist."""

from dataclasses import fields, is_dataclass

import pytest

from privllm.core.errors import UserError
from privllm.core.params import known_keys, read_params
from privllm.validate.drift import MEASURES, DriftConfig
from privllm.validate.expectations import LEFTOVERS, Check, LossesConfig, ValidateConfig, expectations
from privllm.validate.personal_data_left import KINDS


def all_of(cfg: ValidateConfig, changed: dict | None = None) -> list[Check]:
    return [check for checks in expectations(cfg, "columns", changed or {}).values() for check in checks]


def test_number_and_order_depend_on_no_document() -> None:
    changed = {measure: {"psi": 0.5, "chance": 0.3} for measure in MEASURES}
    assert [check.name for check in all_of(ValidateConfig())] == [
        check.name for check in all_of(ValidateConfig(), changed)
    ]


def test_names_are_unique_and_parameters_exist() -> None:
    checks = all_of(ValidateConfig())
    assert len({check.name for check in checks}) == len(checks)
    assert {check.parameter for check in checks} - {""} <= set(known_keys(ValidateConfig))
    assert set(LEFTOVERS) == set(KINDS)


def test_every_limit_of_the_configuration_is_used() -> None:
    parameters = {check.parameter for check in all_of(ValidateConfig())}
    assert set(known_keys(ValidateConfig)) - parameters == {"mostly", "language"}


def test_a_named_language_is_critical_and_the_most_frequent_one_a_warning() -> None:
    severity = {
        cfg.language: check.severity
        for cfg in (ValidateConfig(), ValidateConfig(language="en"))
        for check in all_of(cfg)
        if "are in" in check.name
    }
    assert severity == {"": "warning", "en": "critical"}


def test_what_chance_explains_is_allowed_to_drift() -> None:
    [limit] = [
        check.limits["max_value"]
        for check in all_of(ValidateConfig(), {"language": {"psi": 0.5, "chance": 0.9}})
        if _stops_language(check)
    ]
    assert limit == 0.9
    [limit] = [
        check.limits["max_value"]
        for check in all_of(ValidateConfig(), {"language": {"psi": 0.5, "chance": 0.1}})
        if _stops_language(check)
    ]
    assert limit == 0.25


def _stops_language(check: Check) -> bool:
    return check.limits.get("column") == "drift_language" and check.severity == "critical"


@pytest.mark.parametrize(
    "values",
    [
        {"mostly": 0.0},
        {"min_survival": 1.5},
        {"min_characters": 0},
        {"max_characters": 1},
        {"language": "english"},
        {"language": "<b>"},
    ],
)
def test_values_out_of_range_are_refused(values: dict) -> None:
    with pytest.raises(UserError, match=f"validate.{next(iter(values))}|validate.min_characters"):
        ValidateConfig(**values)


def test_drift_limits_are_in_order() -> None:
    with pytest.raises(UserError, match=r"validate\.drift"):
        DriftConfig(warn=0.3, stop=0.2)


@pytest.mark.parametrize("values", [(0.0, 0.5), (0.5, 0.5), (0.6, 0.5), (0.5, 1.01)])
def test_limits_of_losses_are_in_order(values: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"validate\.losses"):
        LossesConfig(*values)
    assert LossesConfig(0.999, 1.0).stop == 1


def test_parameters_are_read_strictly_nested_ones_too(tmp_path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("validate:\n  min_survival: 0.5\n  drift:\n    stop: 0.4\n")
    cfg = read_params("validate", ValidateConfig, path)
    assert (cfg.min_survival, cfg.drift.stop, cfg.drift.warn) == (0.5, 0.4, 0.1)
    path.write_text("validate:\n  drift:\n    stpo: 0.4\n")
    with pytest.raises(UserError, match="stop"):
        read_params("validate", ValidateConfig, path)


def test_configuration_is_plain_data() -> None:
    assert all(is_dataclass(field.type) or field.type in (int, float, str) for field in fields(ValidateConfig))
