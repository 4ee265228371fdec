// The ways to the host: which one is taken, and that all of them are the same to who chats.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { Client } from "../index.js";
import { bodies, heard, hostFor, pair, person, until } from "./people.js";

const state = (wanted) => (change) => change.state === wanted;

for (const transport of ["sse", "poll"]) {
  test(`people chat over ${transport} as over a socket`, async (t) => {
    const host = await hostFor(t);
    const { anna, ben, id } = await pair(t, host, { transport });
    assert.equal(anna.client.transport, transport);
    assert.equal(anna.client.hello.max_in_flight, host.hello.max_in_flight);
    const sent = Array.from({ length: 30 }, (_, n) => anna.client.send({ conversation: id, body: `${n} ☀` }));
    await Promise.all(sent);
    await until(ben.client, "timeline", () => bodies(ben.client, id).length === 30);
    assert.deepEqual(bodies(ben.client, id), Array.from({ length: 30 }, (_, n) => `${n} ☀`));
    ben.client.read(id);
    await until(anna.client, "receipt", () => anna.client.status(anna.client.messages(id).at(-1)) === "read");
  });

  test(`the end of a session is known over ${transport}, and followed by its code`, async (t) => {
    const host = await hostFor(t);
    const { client } = await person(t, host, "anna", { transport });
    const back = heard(client, "state", state("connected"));
    host.closeAll(3001);
    await back;
    const end = heard(client, "state", state("stopped"));
    host.closeAll(3504);
    assert.equal((await end).code, 3504);
  });

  test(`an answer that is lost over ${transport} loses no push`, async (t) => {
    const host = await hostFor(t);
    // A missing number would be fetched after this time, and hide what went missing.
    const { anna, ben, id } = await pair(t, host, { transport, gapMs: 60_000 });
    const connects = host.count("connect");
    host.lostAnswers = 2;
    for (const body of ["1", "2", "3"]) await anna.client.send({ conversation: id, body });
    await until(ben.client, "timeline", () => bodies(ben.client, id).length === 3);
    assert.equal(host.count("connect"), connects, "in the same session");
  });

  test(`a message whose answer is lost over ${transport} is sent again and stands once`, async (t) => {
    const host = await hostFor(t);
    const { anna, id } = await pair(t, host, { transport });
    host.faults.send.push("drop");
    assert.equal((await anna.client.send({ conversation: id, body: "hello" })).seq, 1);
    assert.equal(host.count("send"), 2);
  });

  test(`a token that the host refuses over ${transport} is replaced within the session`, async (t) => {
    const host = await hostFor(t);
    const { anna, id } = await pair(t, host, { transport });
    const connects = host.count("connect");
    host.expireTokens();
    await anna.client.send({ conversation: id, body: "hello" });
    assert.equal(host.count("connect"), connects);
  });
}

test("where no socket gets through, the session goes over server-sent events", async (t) => {
  const host = await hostFor(t);
  host.blocksSockets = true;
  const { anna, ben, id } = await pair(t, host);
  assert.deepEqual([anna.client.transport, ben.client.transport], ["sse", "sse"]);
  const arrives = heard(ben.client, "message");
  await anna.client.send({ conversation: id, body: "hello" });
  assert.equal((await arrives).body, "hello");
});

test("where streams are kept back as well, it goes on by long poll in the same session", async (t) => {
  const host = await hostFor(t);
  host.blocksSockets = host.blocksStreams = true;
  const { anna, ben, id } = await pair(t, host, { timeoutMs: 2_000 });
  const connects = host.count("connect");
  const arrives = heard(ben.client, "message");
  await anna.client.send({ conversation: id, body: "hello" });
  assert.equal((await arrives).body, "hello");
  assert.equal(ben.client.transport, "poll");
  assert.equal(host.count("connect"), connects);
});

test("where the platform has no WebSocket, it does without", async (t) => {
  const host = await hostFor(t);
  const { client } = await person(t, host, "anna", { WebSocket: null });
  assert.equal(client.transport, "sse");
});

test("a session moves to a socket once one gets through, and nothing is lost or fails meanwhile", async (t) => {
  const host = await hostFor(t);
  host.blocksSockets = true;
  const { anna, ben, id } = await pair(t, host, { upgradeMs: 20 });
  const states = [];
  ben.client.on("state", ({ state }) => states.push(state));
  const sent = Array.from({ length: 50 }, (_, n) => anna.client.send({ conversation: id, body: `${n}` }));
  host.blocksSockets = false;
  await until(ben.client, "state", () => ben.client.transport === "websocket");
  await Promise.all(sent);
  await until(ben.client, "timeline", () => bodies(ben.client, id).length === 50);
  assert.ok(!states.includes("waiting"), `at no time was there no session: ${states}`);
  assert.deepEqual(bodies(ben.client, id), Array.from({ length: 50 }, (_, n) => `${n}`));
});

test("what was written over one way and not answered is sent over the next, once", async (t) => {
  const host = await hostFor(t);
  const { anna, id } = await pair(t, host);
  host.faults.send.push("drop");
  host.blocksSockets = true;
  assert.equal((await anna.client.send({ conversation: id, body: "hello" })).seq, 1);
  assert.equal(anna.client.transport, "sse");
  const ids = host.requests.filter(({ send }) => send).map(({ send }) => send.client_id);
  assert.deepEqual([ids.length, new Set(ids).size], [2, 1]);
});

test("a host that was away for a moment is met over a socket again", async (t) => {
  const host = await hostFor(t);
  host.blocksSockets = true;
  const { client } = await person(t, host, "anna", { upgradeMs: 20 });
  host.blocksSockets = false;
  await until(client, "state", () => client.transport === "websocket");
});

test("a way that is fixed is the only one", async (t) => {
  const host = await hostFor(t);
  host.blocksSockets = true;
  const { auth } = await person(t, host, "anna", { transport: "poll" });
  const client = new Client({ server: host.url, auth, WebSocket, transport: "websocket", backoff: { baseMs: 1, maxMs: 2 } });
  t.after(() => client.stop());
  client.start();
  for (let attempts = 0; attempts < 6; attempts++) await heard(client, "state", state("waiting"));
  assert.equal(client.transport, null);
  const options = { server: host.url, auth };
  assert.throws(() => new Client({ ...options, transport: "pigeon" }), /pigeon/);
  assert.throws(() => new Client({ ...options, transport: "websocket", WebSocket: null }), /WebSocket/);
});
