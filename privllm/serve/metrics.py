"""Counts of requests, tokens and seconds, as Prometheus reads them. No text and no name is counted.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # upper bounds of the histograms' buckets


class Histogram:
    """Numbers of durations up to each of SECONDS."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds

    def lines(self, name: str) -> list[str]:
        lines, count = [], 0
        for bound, number in zip((*map(str, SECONDS), "+Inf"), self.buckets, strict=True):
            count += number
            lines.append(f'{name}_bucket{{le="{bound}"}} {count}')
        return [*lines, f"{name}_sum {self.sum:.6f}", f"{name}_count {count}"]


class Metrics:
    """What one server has done since it started; used by the event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.replies_open = 0  # that are generated or wait to be
        self.first_piece = Histogram()  # from the request to the first piece of its reply
        self.whole_reply = Histogram()

    def text(self) -> str:
        """Return all figures in Prometheus's text format."""
        lines = _head("privllm_requests_total", "counter", "Requests that were answered.")
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'privllm_requests_total{{path="{path}",status="{status}"}} {count}')
        for name, kind, number, told in (
            ("privllm_prompt_tokens_total", "counter", self.prompt_tokens, "Tokens of prompts."),
            ("privllm_completion_tokens_total", "counter", self.completion_tokens, "Tokens of replies."),
            ("privllm_replies_open", "gauge", self.replies_open, "Replies that are generated or wait to be."),
        ):
            lines += [*_head(name, kind, told), f"{name} {number}"]
        for name, histogram, told in (
            ("privllm_first_piece_seconds", self.first_piece, "From a request to the first piece of its reply."),
            ("privllm_reply_seconds", self.whole_reply, "From a request to the end of its reply."),
        ):
            lines += [*_head(name, "histogram", told), *histogram.lines(name)]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, told: str) -> list[str]:
    return [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
