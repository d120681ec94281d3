from privllm.serve.metrics import SECONDS, Histogram, Metrics


def test_figures_are_in_prometheus_format() -> None:
    metrics = Metrics()
    metrics.requests["/v1/models", 200] += 2
    metrics.prompt_tokens, metrics.completion_tokens, metrics.replies_open = 3, 4, 1
    metrics.whole_reply.observe(0.2)
    lines = metrics.text().splitlines()
    for line in (
        "# TYPE privllm_requests_total counter",
        'privllm_requests_total{path="/v1/models",status="200"} 2',
        "privllm_prompt_tokens_total 3",
        "privllm_completion_tokens_total 4",
        "# TYPE privllm_replies_open gauge",
        "privllm_replies_open 1",
        'privllm_reply_seconds_bucket{le="0.1"} 0',
        'privllm_reply_seconds_bucket{le="0.25"} 1',
        'privllm_reply_seconds_bucket{le="+Inf"} 1',
        "privllm_reply_seconds_sum 0.200000",
        "privllm_reply_seconds_count 1",
        "privllm_first_piece_seconds_count 0",
    ):
        assert line in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    for line in lines:
        assert line.startswith("# ") or line.split("{")[0].split()[0].startswith(tuple(names))


def test_a_duration_counts_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram()
    for seconds in (0.0, SECONDS[0], SECONDS[0] + 1e-9, SECONDS[-1], 1e6):
        histogram.observe(seconds)
    assert (histogram.buckets[0], histogram.buckets[1], histogram.buckets[-2], histogram.buckets[-1]) == (2, 1, 1, 1)
