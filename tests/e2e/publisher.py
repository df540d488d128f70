# SPDX-License-Identifier: Apache-2.0
"""A publisher of the durability test; there is one in each language: publisher.py, node/publisher.mjs, go/publisher/main.go.

    NATS_URL=... publisher NAME FROM

It publishes NAME-FROM, NAME-(FROM+1), ... in order, with up to 200 unacknowledged, to the subject d.NAME, each under its text as message id and
with a body that begins with that text and has (number * 37 % 700) dots behind it. For each acknowledgement it prints "number sequence". When
the connection is lost it ends with 0, and the next one goes on at the first number without an acknowledgement.
"""
import asyncio
import os
import sys

import nats

WINDOW = 200


async def end(*_):
    """The server is gone. What was acknowledged has been printed; the rest is published again by the next one."""
    os._exit(0)


async def main(name, number):
    nc = await nats.connect(os.environ["NATS_URL"], error_cb=end, disconnected_cb=end)
    js = nc.jetstream(timeout=20)
    slots = asyncio.Semaphore(WINDOW)

    async def publish(number, text):
        ack = await js.publish(f"d.{name}", text.encode() + b"." * (number * 37 % 700), headers={"Nats-Msg-Id": text})
        print(number, ack.seq, flush=True)
        slots.release()

    tasks = set()
    while True:
        await slots.acquire()
        task = asyncio.ensure_future(publish(number, f"{name}-{number}"))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    except Exception:  # it was gone before the connection was made, or while it was used
        os._exit(0)
