"""From the engine's thread to the event loop: order, the end, and what a slow reader costs."""

import asyncio
import threading

from hetero.engine.requests import Failed, Finished
from hetero.errors import StageLostError
from hetero.server.bridge import EventBridge
from hetero.types import Chunk, FinishReason, Timings, TokenLogprob

END = Finished(1, 2, FinishReason.LENGTH, Timings(0.1, 0.1, 10.0), 0)


def chunk(number: int) -> Chunk:
    return Chunk(f"{number} ", (number,), (TokenLogprob(number, -1.0),))


async def test_everything_comes_in_order_from_another_thread() -> None:
    bridge = EventBridge(asyncio.get_running_loop())

    def produce() -> None:
        for number in range(5000):
            bridge.put(chunk(number))
        bridge.put(END)

    thread = threading.Thread(target=produce)
    thread.start()
    texts, token_ids, logprobs, end = [], [], [], None
    while end is None:
        got, end = await bridge.take()
        if got:
            texts.append(got.text)
            token_ids += got.token_ids
            logprobs += got.logprobs
    thread.join()
    assert end is END
    assert "".join(texts) == "".join(f"{number} " for number in range(5000))
    assert token_ids == list(range(5000)) == [logprob.token_id for logprob in logprobs]


async def test_slow_reader_finds_one_chunk_and_few_are_kept() -> None:
    bridge = EventBridge(asyncio.get_running_loop())
    most = 0
    for number in range(1000):
        bridge.put(chunk(number))
        most = max(most, bridge.waiting)
    assert most < 64
    got, end = await bridge.take()
    assert end is None and got is not None and got.token_ids == tuple(range(1000))


async def test_failure_comes_with_the_text_before_it() -> None:
    bridge = EventBridge(asyncio.get_running_loop())
    bridge.put(chunk(1))
    bridge.put(Failed(StageLostError("gone")))
    got, end = await bridge.take()
    assert got == chunk(1) and isinstance(end, Failed)


async def test_reader_waits_until_something_comes() -> None:
    bridge = EventBridge(asyncio.get_running_loop())
    bridge.put(chunk(1))
    await bridge.take()
    waiting = asyncio.ensure_future(bridge.take())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    bridge.put(END)
    assert await waiting == (None, END)


def test_events_after_the_loops_end_are_dropped() -> None:
    loop = asyncio.new_event_loop()
    bridge = EventBridge(loop)
    loop.close()
    bridge.put(chunk(1))
    assert bridge.waiting == 1
