// SPDX-License-Identifier: Apache-2.0
// Core NATS through the npm package @nats-io/transport-node. NATS_URL says where.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, headers } from "@nats-io/transport-node";

const servers = process.env.NATS_URL;
const text = (m) => m.string();

async function take(sub, count) {
	const got = [];
	for await (const m of sub) {
		got.push(m);
		if (got.length === count) break;
	}
	return got;
}

test("publish and subscribe, in order", async () => {
	const nc = await connect({ servers });
	const sub = nc.subscribe("node.>", { max: 1000 });
	for (let i = 0; i < 1000; i++) nc.publish(`node.${i % 7}`, String(i));
	const got = await take(sub, 1000);
	assert.deepEqual(got.map((m) => Number(text(m))), [...Array(1000).keys()]);
	await nc.close();
});

test("request, reply, no responders", async () => {
	const nc = await connect({ servers });
	nc.subscribe("node.echo", { callback: (_, m) => m.respond(m.data) });
	const answers = await Promise.all([...Array(100).keys()].map((i) => nc.request("node.echo", String(i), { timeout: 5000 })));
	assert.deepEqual(answers.map((m) => Number(text(m))), [...Array(100).keys()]);
	await assert.rejects(nc.request("node.nobody", "", { timeout: 5000 }), (e) => /no responders/i.test(e.message) || e.isNoResponders?.());
	await nc.close();
});

test("headers", async () => {
	const nc = await connect({ servers });
	const sub = nc.subscribe("node.headers", { max: 1 });
	const h = headers();
	h.append("Name", "one");
	h.append("Name", "two");
	nc.publish("node.headers", "body", { headers: h });
	const [m] = await take(sub, 1);
	assert.deepEqual(m.headers.values("Name"), ["one", "two"]);
	assert.equal(text(m), "body");
	await nc.close();
});

test("queue group", async () => {
	const members = await Promise.all([1, 2, 3].map(() => connect({ servers })));
	const counts = [0, 0, 0];
	members.forEach((nc, i) => nc.subscribe("node.jobs", { queue: "q", callback: () => counts[i]++ }));
	await Promise.all(members.map((nc) => nc.flush()));
	for (let i = 0; i < 300; i++) members[0].publish("node.jobs");
	await Promise.all(members.map((nc) => nc.flush()));
	await Promise.all(members.map((nc) => nc.drain()));
	assert.equal(counts[0] + counts[1] + counts[2], 300);
	assert.ok(Math.min(...counts) > 30, `shared unevenly: ${counts}`);
});
