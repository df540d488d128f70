# SPDX-License-Identifier: Apache-2.0
"""The consumer of the durability test: fetches from the consumer W of the stream D, acks each message and waits until that is confirmed: prints
"try SEQUENCE" before and "done SEQUENCE" after. Ends with 0 when the connection is lost."""
import asyncio
import os

import nats
import nats.errors


async def end(*_):
    os._exit(0)


async def main():
    nc = await nats.connect(os.environ["NATS_URL"], error_cb=end, disconnected_cb=end)
    sub = await nc.jetstream(timeout=20).pull_subscribe_bind("W", "D")

    async def finish(msg):
        seq = msg.metadata.sequence.stream
        print("try", seq, flush=True)
        await msg.ack_sync(timeout=20)
        print("done", seq, flush=True)

    while True:
        try:
            messages = await sub.fetch(50, timeout=1)
        except nats.errors.TimeoutError:
            continue
        await asyncio.gather(*(finish(m) for m in messages))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Exception:  # whatever way the loss of the connection showed itself
        os._exit(0)
