# SPDX-License-Identifier: Apache-2.0
"""Every request of $JS.API with what may be in it: api_answers.txt says which error code comes back. And what the answers look like."""
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.jetstream


def rows():
    for line in Path(__file__).with_name("api_answers.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            code, subject, body = (part.strip() for part in line.split("|", 2))
            yield int(code), subject, body


def code_of(msg):
    if msg.headers and "Status" in msg.headers:
        return int(msg.headers["Status"])
    return json.loads(msg.data).get("error", {}).get("err_code", 0)


async def test_error_codes(nc):
    played = 0
    for code, subject, body in rows():
        headers = None
        if subject.startswith("PUB "):
            _, subject, *header = subject.split(" ")
            headers = dict([header[0].split(":")]) if header else None
        else:
            subject = "$JS.API." + subject
        got = code_of(await nc.request(subject, body.encode(), timeout=10, headers=headers))
        assert got == code, f"request {played}: {subject} {body}"
        played += 1
    assert played > 200


async def ask(nc, request, body=b""):
    return json.loads((await nc.request("$JS.API." + request, body, timeout=10)).data)


async def test_paging(nc):
    for i in range(260):
        await ask(nc, f"STREAM.CREATE.n{i:03}", json.dumps({"name": f"n{i:03}", "storage": "memory"}).encode())
    page = await ask(nc, "STREAM.LIST")
    assert (page["total"], page["offset"], page["limit"], len(page["streams"])) == (260, 0, 256, 256)
    page = await ask(nc, "STREAM.LIST", b'{"offset":256}')
    assert [s["config"]["name"] for s in page["streams"]] == [f"n{i:03}" for i in range(256, 260)]
    page = await ask(nc, "STREAM.NAMES", b'{"offset":259}')
    assert (page["total"], page["offset"], page["limit"], page["streams"]) == (260, 259, 1024, ["n259"])
    page = await ask(nc, "STREAM.NAMES", b'{"offset":1000}')
    assert (page["offset"], page["streams"]) == (260, None)
