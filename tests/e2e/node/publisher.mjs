// SPDX-License-Identifier: Apache-2.0
// Publishes numbered messages to the stream D until the connection is gone, and prints "number sequence" for each one that was acknowledged.
// What the durability test expects of a publisher stands in publisher.py.
import { writeSync } from "node:fs";
import { connect } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const WINDOW = 200;
const [name, from] = process.argv.slice(2);
const nc = await connect({ servers: process.env.NATS_URL, reconnect: false });
const js = jetstream(nc, { checkAPI: false, timeout: 20000 });

// The server is gone. What was acknowledged has been printed; the rest is published again by the next one.
nc.closed().then(() => process.exit(0));

let waiting = 0;
let wake = () => {};

for (let number = Number(from);; number++) {
	const id = `${name}-${number}`;
	waiting++;
	js.publish(`d.${name}`, id + ".".repeat((number * 37) % 700), { msgID: id, retries: 0 })
		.then((ack) => writeSync(1, `${number} ${ack.seq}\n`), () => process.exit(0))
		.finally(() => { waiting--; wake(); });
	if (waiting >= WINDOW) await new Promise((resolve) => { wake = resolve; });
}
