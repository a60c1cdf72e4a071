"""Lets the scenario, which waits, drive a client of asyncio: its loop runs in a thread of its own."""

import asyncio
import threading

import scenario

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def wait(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(scenario.PATIENCE)
