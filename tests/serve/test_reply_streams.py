"""Several replies at once, what a token pays for them, and that they end with their client."""

import asyncio

import pytest

from privllm.serve.engine.base import Done, GenerationRequest, RequestRefused, Text
from privllm.serve.limits import RateLimiter
from privllm.serve.metrics import Metrics
from privllm.serve.reply_streams import ClosingStreamingResponse, stream_limited
from tests.serve.fakes import Failing, Parrot, Silent, completion

ASK = completion("x", max_tokens=50)  # which may cost 53 tokens, as a parrot counts


def meter_of_100() -> RateLimiter:
    """A meter at which no time passes."""
    return RateLimiter(10, 100, lambda: 0.0)


def left_in(limiter: RateLimiter) -> int:
    """Tokens that could still be taken at once."""
    return next(amount for amount in range(100, -1, -1) if limiter.tokens.wait(amount) == 0)


class Greedy(Parrot):
    """Another server that claims to have used more than was asked for."""

    async def stream(self, ask: GenerationRequest):
        yield Done("length", 3, 500)


@pytest.mark.parametrize(
    ("engine", "left"),
    [
        (Parrot("m", "", "one two"), 92),  # 3 were read, and 5 written, as it says itself
        (Greedy("m", "", ""), 47),
        (Failing(RequestRefused(502, "x"), after=0), 100),
        (Failing(RequestRefused(502, "x"), after=1), 96),
        (Failing(RequestRefused(502, "x"), after=2), 95),
        (Failing(OSError("x"), after=1), 96),
    ],
)
def test_what_a_reply_did_not_use_is_given_back_however_it_ends(engine: Parrot, left: int) -> None:
    async def main() -> None:
        limiter = meter_of_100()
        try:
            async for _ in stream_limited(engine, [ASK], limiter, Metrics()):
                assert left_in(limiter) == 47
        except (RequestRefused, OSError):
            pass
        assert left_in(limiter) == left

    asyncio.run(main())


def test_who_leaves_gets_back_what_was_not_said() -> None:
    async def main() -> None:
        limiter = meter_of_100()
        events = stream_limited(Parrot("m", "", "one two three"), [ASK], limiter, Metrics())
        await anext(events)
        await anext(events)
        assert left_in(limiter) == 47
        await events.aclose()  # type: ignore[attr-defined]
        assert left_in(limiter) == 95
        first = asyncio.ensure_future(anext(stream_limited(Silent("m", "", ""), [ASK], limiter, Metrics())))
        while left_in(limiter) == 95:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert left_in(limiter) == 95

    asyncio.run(main())


def test_a_reply_that_is_refused_at_the_door_takes_nothing() -> None:
    async def main() -> None:
        limiter = meter_of_100()
        with pytest.raises(RequestRefused) as refused:
            await anext(stream_limited(Parrot("m", "", "x"), [completion("x", max_tokens=98)], limiter, Metrics()))
        assert (refused.value.status, refused.value.retry_after) == (429, None)
        assert left_in(limiter) == 100
        assert await anext(stream_limited(Parrot("m", "", "x"), [completion("x", max_tokens=97)], limiter, Metrics()))

    asyncio.run(main())


def test_several_replies_come_as_they_are_said_and_are_paid_together() -> None:
    async def main() -> None:
        limiter = RateLimiter(1, 1000, lambda: 0.0)
        requests = [completion(text, max_tokens=50) for text in "abc"]
        found: dict[int, list[Text | Done]] = {0: [], 1: [], 2: []}
        order = []
        async for index, event in stream_limited(Parrot("m", "", "one two", 0.01), requests, limiter, Metrics()):
            found[index].append(event)
            order.append(index)
        assert all(events == [Text("one "), Text("two "), Done("stop", 3, 5)] for events in found.values())
        assert sorted(order[:3]) == [0, 1, 2]
        assert limiter.tokens.wait(1000 - 3 * 8) == 0 < limiter.tokens.wait(1000 - 3 * 8 + 1)

    asyncio.run(main())


def test_one_failure_ends_all_and_so_does_a_client_that_leaves() -> None:
    closed = []

    class Watched(Parrot):
        async def stream(self, ask: GenerationRequest):
            try:
                if ask.text == "fails":
                    raise RequestRefused(502, "x")
                while True:
                    yield Text("x")
                    await asyncio.sleep(0)
            finally:
                closed.append(ask.text)

    async def main() -> None:
        engine = Watched("m", "", "")
        with pytest.raises(RequestRefused):
            async for _ in stream_limited(engine, [completion("a"), completion("fails")], None, Metrics()):
                pass
        assert sorted(closed) == ["a", "fails"]
        closed.clear()
        events = stream_limited(engine, [completion("a"), completion("b")], None, Metrics())
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        assert sorted(closed) == ["a", "b"]

    asyncio.run(main())


def test_the_source_of_a_stream_is_closed_when_its_client_is_gone_while_it_does_not_read() -> None:
    """Nobody asks the source for more then, so it does not learn of it by itself."""
    closed, sent, full = [], [], asyncio.Event()

    async def source():
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async def send(message) -> None:
        sent.append(message)
        if len(sent) == 3:
            full.set()
            await asyncio.Event().wait()

    async def receive():
        await full.wait()
        return {"type": "http.disconnect"}

    async def main() -> None:
        pieces = source()
        await asyncio.wait_for(
            ClosingStreamingResponse(pieces, "text/plain")(
                {"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send
            ),
            30,
        )
        assert closed == [True]
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)

    asyncio.run(main())
