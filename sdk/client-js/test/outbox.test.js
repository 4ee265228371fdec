// What is written is sent once, in order, or refused with a reason.

import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStorage } from "../index.js";
import { bodies, connected, heard, hostFor, pair, until } from "./people.js";

const TEMPORARY = { code: "unavailable", message: "not now", temporary: true, retry_after_ms: 30 };

test("a message whose answer was lost is sent again and counted once", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  host.faults.send.push("drop");
  const message = await anna.client.send({ conversation: id, body: "once" });
  assert.equal(message.seq, 1);
  await anna.client.send({ conversation: id, body: "next" });
  await until(ben.client, "timeline", () => ben.client.messages(id).length === 2);
  assert.deepEqual(bodies(ben.client, id), ["once", "next"]);
  assert.deepEqual(bodies(anna.client, id), ["once", "next"]);
});

test("a temporary error is tried again after the time that it names, and order is kept", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  host.faults.send.push(TEMPORARY, { ...TEMPORARY, code: "unknown_outcome" });
  const began = performance.now();
  const all = ["one", "two", "three"].map((body) => anna.client.send({ conversation: id, body }));
  assert.deepEqual((await Promise.all(all)).map(({ seq }) => seq), [1, 2, 3]);
  assert.ok(performance.now() - began >= 60, "twice 30 ms were asked for");
  await until(ben.client, "timeline", () => ben.client.messages(id).length === 3);
  assert.deepEqual(bodies(ben.client, id), ["one", "two", "three"]);
});

test("a refusal is told with code, field and text, and what follows is sent", async (t) => {
  const host = await hostFor(t);
  const { anna, id } = await pair(t, host);
  host.moderate = (body) => (body.includes("darn") ? { code: "language", text: "mind your language" } : null);
  const refused = heard(anna.client, "refused");
  const rejection = assert.rejects(anna.client.send({ conversation: id, body: "darn" }), {
    code: "moderated",
    field: "language",
    message: "mind your language",
    temporary: false,
  });
  const next = await anna.client.send({ conversation: id, body: "fine" });
  await rejection;
  const entry = await refused;
  assert.equal(next.seq, 1, "a refused message takes no number");
  assert.deepEqual(anna.client.outbox.map(({ body, state }) => [body, state]), [["darn", "refused"]]);
  assert.ok(anna.client.discard(entry.client_id));
  assert.deepEqual(anna.client.outbox, []);
});

test("what a plugin rewrote is what its sender sees, looked up once for a burst", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  host.normalise = (body) => body.replace("darn", "****");
  const looked = host.count("history");
  for (const body of ["one", "darn it", "three"]) anna.client.send({ conversation: id, body });
  const rewritten = ["one", "**** it", "three"];
  await until(anna.client, "timeline", () => bodies(anna.client, id)[1] === rewritten[1]);
  assert.deepEqual(bodies(anna.client, id), rewritten);
  await until(ben.client, "timeline", () => bodies(ben.client, id).length === 3);
  assert.deepEqual(bodies(ben.client, id), rewritten);
  assert.equal(host.count("history"), looked + 1);
});

test("only what was refused can be discarded", async (t) => {
  const host = await hostFor(t);
  const { anna, id } = await pair(t, host);
  anna.client.stop();
  anna.client.send({ conversation: id, body: "kept" });
  assert.equal(anna.client.discard(anna.client.outbox[0].client_id), false);
  assert.equal(anna.client.outbox.length, 1);
});

test("what was written without a connection outlives the client and is sent by the next", async (t) => {
  const host = await hostFor(t);
  const storage = memoryStorage();
  const { anna, ben, id } = await pair(t, host, {});
  const first = await connected(t, host, anna.auth, { storage });
  first.client.stop();
  const all = Array.from({ length: 20 }, (_, n) => `${n}`);
  for (const body of all) first.client.send({ conversation: id, body });
  assert.equal(first.client.outbox.length, 20);
  const second = await connected(t, host, anna.auth, { storage });
  await until(second.client, "sent", () => second.client.outbox.length === 0);
  await until(ben.client, "timeline", () => ben.client.messages(id).length === 20);
  assert.deepEqual(bodies(ben.client, id), all);
  assert.deepEqual(storage.keys(), ["device"]);
});

test("a refused message is still there, with its reason, after a restart", async (t) => {
  const host = await hostFor(t);
  const storage = memoryStorage();
  const { anna, id } = await pair(t, host);
  const first = await connected(t, host, anna.auth, { storage });
  host.moderate = () => ({ code: "closed", text: "nobody may write now" });
  const refused = heard(first.client, "refused");
  first.client.send({ conversation: id, body: "hello" });
  await refused;
  first.client.stop();
  const second = await connected(t, host, anna.auth, { storage });
  const [{ body, state, error }] = second.client.outbox;
  assert.deepEqual([body, state, error.message], ["hello", "refused", "nobody may write now"]);
});

test("a storage that is full fails the send and keeps nothing", async (t) => {
  const host = await hostFor(t);
  const storage = memoryStorage();
  const { anna, id } = await pair(t, host);
  const { client } = await connected(t, host, anna.auth, { storage });
  storage.set = () => {
    throw new Error("quota exceeded");
  };
  assert.throws(() => client.send({ conversation: id, body: "hello" }), /quota exceeded/);
  assert.deepEqual(client.outbox, []);
});
