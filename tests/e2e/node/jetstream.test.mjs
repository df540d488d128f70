// SPDX-License-Identifier: Apache-2.0
// JetStream through the npm package @nats-io/jetstream: streams, publish, pull consumers. NATS_URL says where.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";

const servers = process.env.NATS_URL;
// The server under test may be a 2.9, which the package supports without asking for features of later releases.
const options = { checkAPI: false };

async function setup(name, config = {}) {
	const nc = await connect({ servers });
	const jsm = await jetstreamManager(nc, options);
	await jsm.streams.add({ name, subjects: [`${name}.>`], ...config });
	return { nc, jsm, js: jetstream(nc, options) };
}

test("stream management", async () => {
	const { nc, jsm, js } = await setup("NODE1", { max_msgs: 100 });
	const info = await jsm.streams.info("NODE1");
	assert.equal(info.config.max_msgs, 100);
	await jsm.streams.update("NODE1", { max_msgs: 50 });
	assert.equal((await jsm.streams.info("NODE1")).config.max_msgs, 50);
	for (let i = 0; i < 60; i++) await js.publish("NODE1.a", String(i));
	assert.equal((await jsm.streams.info("NODE1")).state.messages, 50);
	const m = await jsm.streams.getMessage("NODE1", { seq: 60 });
	assert.equal(m.string(), "59");
	await jsm.streams.deleteMessage("NODE1", 60);
	assert.equal((await jsm.streams.purge("NODE1")).purged, 49);
	const names = [];
	for await (const s of jsm.streams.list()) names.push(s.config.name);
	assert.ok(names.includes("NODE1"));
	assert.equal(await jsm.streams.delete("NODE1"), true);
	await nc.close();
});

test("publish: deduplication and expectations", async () => {
	const { nc, jsm, js } = await setup("NODE2");
	assert.deepEqual(await js.publish("NODE2.a", "x", { msgID: "1" }).then((a) => [a.seq, a.duplicate]), [1, false]);
	assert.deepEqual(await js.publish("NODE2.a", "x", { msgID: "1" }).then((a) => [a.seq, a.duplicate]), [1, true]);
	await assert.rejects(js.publish("NODE2.a", "y", { expect: { lastSequence: 7 } }), /wrong last sequence: 1/);
	assert.equal((await js.publish("NODE2.a", "y", { expect: { lastMsgID: "1", streamName: "NODE2" } })).seq, 2);
	await jsm.streams.delete("NODE2");
	await nc.close();
});

test("consumer: fetch, ack, nak, double ack", async () => {
	const { nc, jsm, js } = await setup("NODE3");
	for (let i = 0; i < 20; i++) await js.publish("NODE3.a", String(i));
	await jsm.consumers.add("NODE3", { durable_name: "c", ack_policy: AckPolicy.Explicit });
	const consumer = await js.consumers.get("NODE3", "c");
	const got = [];
	for await (const m of await consumer.fetch({ max_messages: 10, expires: 5000 })) {
		got.push(Number(m.string()));
		if (m.info.deliveryCount === 1 && m.seq === 1) m.nak();
		else assert.equal(await m.ackAck(), true);
	}
	assert.equal(got.length, 10);
	for await (const m of await consumer.fetch({ max_messages: 11, expires: 5000 })) {
		got.push(Number(m.string()));
		assert.equal(await m.ackAck(), true);
	}
	assert.deepEqual(got.sort((a, b) => a - b), [0, ...Array(20).keys()]);
	const info = await jsm.consumers.info("NODE3", "c");
	assert.equal(info.num_ack_pending, 0);
	assert.equal(info.num_pending, 0);
	await jsm.streams.delete("NODE3");
	await nc.close();
});

test("consumer: endless consume with acks", async () => {
	const { nc, jsm, js } = await setup("NODE4");
	await jsm.consumers.add("NODE4", { durable_name: "c", ack_policy: AckPolicy.Explicit });
	const consumer = await js.consumers.get("NODE4", "c");
	const messages = await consumer.consume({ max_messages: 100 });
	const sending = (async () => {
		for (let i = 0; i < 1000; i++) await js.publish("NODE4.a", String(i));
	})();
	let next = 0;
	for await (const m of messages) {
		assert.equal(Number(m.string()), next++);
		m.ack();
		if (next === 1000) break;
	}
	await sending;
	await messages.close();
	await jsm.streams.delete("NODE4");
	await nc.close();
});
