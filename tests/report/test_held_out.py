"""The table of held-out figures: the test split first, each with its interval or "too few"."""

from privllm.report.held_out import base_line, bits_name, held_out_lines, judged, risk_lines

VALIDATION = {"denoising_bits": 1.5, "documents": 9, "left_out": 0, "bleu": 0.25, "perplexity": 3.0}
TEST = {"denoising_bits": 1.75, "denoising_bits_clean": 2.0, "documents": 23, "clean_documents": 12}
TEST |= {"interval": [1.5, 2.0], "clean_interval": [1.75, 2.25], "left_out": 4}


def test_lines_say_split_text_interval_and_counts() -> None:
    lines = held_out_lines(VALIDATION | {"test": TEST})
    assert [tuple(line) for line in lines] == [
        ("test", False, "denoising bits per byte, all text", 1.75, "1.500–2.000", 23, 4),
        ("test", True, "denoising bits per byte, not copied from training", 2.0, "1.750–2.250", 12, 4),
        ("validation", False, "denoising bits per byte, all text", 1.5, "too few", 9, 0),
    ]
    assert held_out_lines({}) == []


def test_the_headline_is_of_the_test_split() -> None:
    figures = judged(VALIDATION | {"test": TEST})
    assert (figures["denoising_bits"], figures["documents"], figures["bleu"]) == (1.75, 23, 0.25)


def test_the_name_is_that_of_all_text() -> None:
    assert bits_name({"loss": 1, "pseudo_bits": 2, "pseudo_bits_clean": 3}) == "pseudo_bits"
    assert bits_name({}) == "bits_per_byte"


def test_a_base_model_is_a_line_of_its_own() -> None:
    before = {
        "base": "data/base/x",
        "bits_per_byte_clean": 1.1,
        "difference": -0.05,
        "interval": [-0.07, -0.03],
        "documents": 12,
    }
    assert base_line({"test": {"before": before}}) == ("data/base/x before", "1.100, so -0.050 (-0.070 to -0.030)")
    assert base_line({"test": {"before": before | {"interval": None}}}) == (
        "data/base/x before",
        "1.100, so -0.050 (too few)",
    )
    assert base_line({"test": {}}) is base_line({}) is None


def test_what_was_forgotten_and_what_leaves_the_house_are_lines() -> None:
    leaks = {
        "texts": 1000,
        "runs": 23456,
        "copied_runs": 0.0312,
        "copied_runs_interval": [0.02, 0.0424],
        "personal_data": 0.0,
        "personal_data_interval": None,
    }
    general = {"change": 0.013, "interval": [0.004, 0.022], "texts": 55}
    lines = risk_lines({"general_text": general, "leaks": leaks})
    assert [line.text for line in lines] == [
        "+1.3% (+0.4% to +2.2%) on 55 texts",
        "3.12% (2.00% to 4.24%) of 23,456 runs of 13 words",
        "0.00% (too few) of 1,000 texts",
    ]
    assert risk_lines({}) == []
