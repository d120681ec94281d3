from privllm.report.baselines import baseline_rows, learnt_text, worse_than_xz

MEASURED = {
    "training_bytes": 1_234_567,
    "bits_per_byte": {"gzip -9": 1.5, "xz -9e": 1.317, "5-gram": 1.2},
    "bits_per_byte_clean": {"5-gram": 1.9},
}


def test_rows_have_a_figure_for_each_family() -> None:
    rows = baseline_rows([{}, {"baselines": MEASURED}])
    assert rows == [
        ("gzip -9", [None, 1.5]),
        ("xz -9e", [None, 1.317]),
        ("5-gram", [None, 1.2]),
        ("5-gram, not copied from training", [None, 1.9]),
    ]
    assert baseline_rows([{}, {"baselines": {"documents": 0, "bytes": 0}}]) == []


def test_it_says_how_much_the_ngram_model_learnt_from() -> None:
    assert learnt_text([{}, {"baselines": MEASURED}]) == "1.2 MB of training text"
    assert learnt_text([{"baselines": {"documents": 0, "bytes": 0}}]) == ""


def test_only_a_model_that_needs_more_than_xz_is_warned_of() -> None:
    worse = worse_than_xz("causal", {"bits_per_byte": 1.674, "baselines": MEASURED})
    assert "causal needs 1.674 bits per byte, more than xz -9e for the same documents (1.317)" in worse
    assert "`base` name a model" in worse
    assert worse_than_xz("causal", {"bits_per_byte": 1.317, "baselines": MEASURED}) == ""
    assert worse_than_xz("causal", {"bits_per_byte": 1.674}) == ""
    assert worse_than_xz("masked", {"pseudo_bits_per_byte": 1.674, "baselines": MEASURED}) == ""


def test_the_figure_of_the_test_split_is_compared() -> None:
    evaluation = {"bits_per_byte": 1.9, "test": {"bits_per_byte": 1.2}, "baselines": MEASURED}
    assert worse_than_xz("causal", evaluation) == ""
    assert worse_than_xz("causal", evaluation | {"test": {"bits_per_byte": 1.4}})
