// What the host holds is shown as held, delays nothing, and is settled by the host's verdict, also by one that was missed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStorage } from "../index.js";
import { bodies, connected, heard, hostFor, pair, until } from "./people.js";

const states = (client) => client.outbox.map(({ body, state, held }) => [body, state, held?.reason]);

async function holding(t) {
  const host = await hostFor(t);
  host.hold = (body) => (body.includes("hmm") ? "somebody looks at it" : null);
  return { host, ...(await pair(t, host)) };
}

test("what is held is shown with its reason, and what follows goes on", async (t) => {
  const { host, anna, ben, id } = await holding(t);
  const sent = anna.client.send({ conversation: id, body: "hmm" });
  assert.equal((await anna.client.send({ conversation: id, body: "next" })).seq, 1);
  assert.deepEqual(states(anna.client), [["hmm", "held", "somebody looks at it"]]);
  assert.equal(anna.client.discard(anna.client.outbox[0].client_id), false);
  host.decide("hmm", true);
  assert.equal((await sent).seq, 2);
  assert.deepEqual(anna.client.outbox, []);
  await until(ben.client, "timeline", () => ben.client.messages(id).length === 2);
  for (const { client } of [anna, ben]) assert.deepEqual(bodies(client, id), ["next", "hmm"]);
});

test("what is rejected after a while is refused with the reason", async (t) => {
  const { host, anna, id } = await holding(t);
  const rejection = assert.rejects(anna.client.send({ conversation: id, body: "hmm" }), { code: "moderated", message: "not here" });
  await until(anna.client, "outbox", () => anna.client.outbox[0]?.state === "held");
  host.decide("hmm", false);
  await rejection;
  assert.deepEqual(states(anna.client), [["hmm", "refused", undefined]]);
});

test("a verdict that came while the client was away is asked for", async (t) => {
  const { host, anna, id } = await holding(t);
  const storage = memoryStorage();
  const first = await connected(t, host, anna.auth, { storage });
  for (const body of ["hmm 1", "hmm 2", "hmm 3"]) first.client.send({ conversation: id, body });
  await until(first.client, "outbox", () => first.client.outbox.every(({ state }) => state === "held"));
  first.client.stop();
  host.decide("hmm 1", true, false);
  host.decide("hmm 2", false, false);
  const second = await connected(t, host, anna.auth, { storage });
  await until(second.client, "outbox", () => !second.client.outbox.some(({ state }) => ["waiting", "sending"].includes(state)));
  assert.deepEqual(states(second.client), [
    ["hmm 2", "refused", undefined],
    ["hmm 3", "held", "somebody looks at it"],
  ]);
  const sent = heard(second.client, "sent");
  host.decide("hmm 3", true);
  assert.equal((await sent).message.seq, 2);
});
