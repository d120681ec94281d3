import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from privllm.feedback.records import Message
from privllm.serve.engine.base import Done, GenerationRequest, RequestRefused, SamplingSettings, Text
from privllm.serve.engine.local import LocalEngine
from tests.serve.fakes import completion

LONG = completion("the", max_tokens=4000, temperature=0.0)


@asynccontextmanager
async def running(folder: Path, batch: int = 4, queue: int = 4) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine.open(folder, "", batch, queue)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def quiet(engine: LocalEngine) -> None:
    async with asyncio.timeout(5):
        while engine.running:
            await asyncio.sleep(0.01)


@pytest.mark.slow
def test_many_at_once_each_in_order_and_whole(exported: Callable[..., Path]) -> None:
    async def reply(engine: LocalEngine, text: str) -> str:
        events = [event async for event in engine.stream(completion(text, 20, 0.0))]
        assert isinstance(events[-1], Done)
        return "".join(event.text for event in events if isinstance(event, Text))

    async def main() -> None:
        async with running(exported(), 4, 60) as engine:
            texts = [f"the page {i}" for i in range(40)]
            together = await asyncio.gather(*(reply(engine, text) for text in texts))
            assert together == [await reply(engine, text) for text in texts]
            assert len(set(together)) > 10

    asyncio.run(main())


def test_who_goes_away_is_not_generated_for(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported()) as engine:
            stream = engine.stream(LONG)
            assert isinstance(await anext(stream), Text)  # type: ignore[arg-type]
            await anext(stream)  # type: ignore[arg-type]
            assert engine.running >= 1
            await stream.aclose()  # type: ignore[attr-defined]
            await quiet(engine)

    asyncio.run(main())


def test_too_many_are_refused_and_room_comes_back(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported(), 1, 1) as engine:
            first, second = engine.stream(LONG), engine.stream(LONG)
            await anext(first)  # type: ignore[arg-type]
            waiting = asyncio.create_task(anext(second))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            with pytest.raises(RequestRefused) as refused:
                await anext(engine.stream(LONG))  # type: ignore[arg-type]
            assert (refused.value.status, refused.value.retry_after) == (429, 2.0)
            await first.aclose()  # type: ignore[attr-defined]
            assert isinstance(await waiting, Text)
            await second.aclose()  # type: ignore[attr-defined]
            await quiet(engine)

    asyncio.run(main())


def test_a_prompt_beyond_the_context_is_refused(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported()) as engine:
            request = completion("row " * 500)
            for answer in (engine.count_tokens(request), anext(engine.stream(request))):
                with pytest.raises(RequestRefused, match="this model sees 96 at once") as refused:
                    await answer
                assert (refused.value.param, refused.value.code) == ("prompt", "context_length_exceeded")

    asyncio.run(main())


def test_a_failing_step_is_told_and_survived(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(exported()) as engine:
            with monkeypatch.context() as patch:
                patch.setattr(engine._scheduler.kv_cache, "add", lambda read: 1 / 0)
                with pytest.raises(RequestRefused, match="the model failed") as refused:
                    [event async for event in engine.stream(LONG)]
                assert refused.value.status == 500
            assert isinstance(await anext(engine.stream(LONG)), Text)  # type: ignore[arg-type]

    asyncio.run(main())


def test_as_many_wait_as_were_asked_for_and_not_one_more(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 replies at once, 64 that wait. The model's thread does nothing here, so nobody leaves."""
    monkeypatch.setattr(LocalEngine, "_work", lambda self: None)

    async def main() -> None:
        engine = LocalEngine.open(exported())
        await engine.start()
        replies = [asyncio.ensure_future(anext(engine.stream(LONG))) for _ in range(96)]  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            while engine.running < 96:
                await asyncio.sleep(0.01)
        with pytest.raises(RequestRefused, match="too many replies") as refused:
            await asyncio.wait_for(anext(engine.stream(LONG)), 30)  # type: ignore[arg-type]
        assert refused.value.status == 429
        replies.pop().cancel()
        await asyncio.sleep(0)
        replies.append(asyncio.ensure_future(anext(engine.stream(LONG))))  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            while engine.running < 97:
                await asyncio.sleep(0.01)
        assert not any(reply_task.done() for reply_task in replies)
        for reply_task in replies:
            reply_task.cancel()
        await asyncio.gather(*replies, return_exceptions=True)
        await engine.close()

    asyncio.run(main())


def test_who_is_refused_takes_nobodys_place(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported(), 1, 0) as engine:
            for _ in range(3):
                with pytest.raises(RequestRefused, match="sees 96 at once"):
                    await anext(engine.stream(completion("row " * 500)))  # type: ignore[arg-type]
            assert isinstance(await anext(engine.stream(LONG)), Text)  # type: ignore[arg-type]

    asyncio.run(main())


@pytest.mark.parametrize("tokens", [1, 95, 96, 97])
def test_a_prompt_may_fill_the_context_and_not_a_token_more(exported: Callable[..., Path], tokens: int) -> None:
    """The model sees 96 tokens at once; one of them is the boundary before the text."""

    async def main() -> None:
        async with running(exported()) as engine:
            asked = next(
                ask
                for words in range(200)
                for ask in (completion("1 " * words + mark, 3, 0.0) for mark in ("", "1"))
                if len(engine._prompt_format.encode(ask)) == tokens
            )
            if tokens > 96:
                for work in (engine.count_tokens(asked), anext(engine.stream(asked))):  # type: ignore[arg-type]
                    with pytest.raises(RequestRefused, match="has 97 tokens, and this model sees 96"):
                        await work
                return
            assert await engine.count_tokens(asked) == tokens
            *_, done = [event async for event in engine.stream(asked)]
            assert isinstance(done, Done)
            assert (done.prompt_tokens, done.completion_tokens) == (tokens, 3)

    asyncio.run(main())


def test_what_is_too_long_of_a_chat_is_said_of_its_messages(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported()) as engine:
            with pytest.raises(RequestRefused) as refused:
                await engine.count_tokens(GenerationRequest((Message("user", "row " * 500),), "", SamplingSettings()))
            assert (refused.value.status, refused.value.param) == (400, "messages")

    asyncio.run(main())


def test_a_closed_engine_has_ended_its_thread_even_if_it_never_began(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        engine = LocalEngine.open(exported())
        await engine.close()
        async with running(exported()) as begun:
            await anext(begun.stream(LONG))  # type: ignore[arg-type]
        assert not begun._thread.is_alive()

    asyncio.run(main())
