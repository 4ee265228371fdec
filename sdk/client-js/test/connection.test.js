// The life of a connection: reconnecting, close codes, hand-over, limits, gaps, tokens.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { Auth, Client } from "../index.js";
import { bodies, connected, heard, hostFor, pair, person, until } from "./people.js";

const state = (wanted) => (change) => change.state === wanted;

for (const code of [3000, 3001, 3002, 3003, 3499]) {
  test(`close code ${code} is answered by coming back`, async (t) => {
    const host = await hostFor(t);
    const { client } = await person(t, host, "anna");
    const back = heard(client, "state", state("connected"));
    host.closeAll(code);
    await back;
  });
}

for (const code of [3501, 3502, 3503, 3504, 3505, 3999]) {
  test(`close code ${code} is final`, async (t) => {
    const host = await hostFor(t);
    const { client } = await person(t, host, "anna");
    const end = heard(client, "state", ({ state }) => state !== "connected");
    host.closeAll(code);
    assert.deepEqual(await end, { state: "stopped", code, reason: "" });
    const again = heard(client, "state", state("connected"));
    client.start();
    await again;
  });
}

test("messages missed while away are fetched in order and each is told once", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const told = [];
  ben.client.on("message", ({ seq }) => told.push(seq));
  await anna.client.send({ conversation: id, body: "1" });
  await until(ben.client, "message", () => told.length === 1);
  ben.client.stop();
  const all = Array.from({ length: 450 }, (_, n) => n + 1);
  for (const n of all.slice(1)) anna.client.send({ conversation: id, body: `${n}` });
  await until(anna.client, "sent", () => anna.client.outbox.length === 0);
  ben.client.start();
  await until(ben.client, "message", () => told.length === 450);
  assert.deepEqual(told, all);
});

test("a push that was lost is noticed by its number and fetched", async (t) => {
  const host = await hostFor(t);
  host.lostPushes.add(2);
  const { anna, ben, id } = await pair(t, host);
  for (const body of ["1", "2", "3"]) await anna.client.send({ conversation: id, body });
  const told = [];
  ben.client.on("message", ({ body }) => told.push(body));
  await until(ben.client, "timeline", () => bodies(ben.client, id).length === 3);
  assert.deepEqual(bodies(ben.client, id), ["1", "2", "3"]);
  assert.deepEqual(told.slice(-2), ["2", "3"], "what came ahead waited for what was missing");
});

test("a gap is not acknowledged", async (t) => {
  const host = await hostFor(t);
  host.lostPushes.add(1);
  const { anna, ben, id } = await pair(t, host, { gapMs: 60_000 });
  for (const body of ["1", "2"]) await anna.client.send({ conversation: id, body });
  await until(ben.client, "timeline", () => bodies(ben.client, id).length === 1);
  ben.client.read(id);
  await ben.client.request("users", { ids: [] });
  assert.equal(host.count("received") + host.count("read"), 0);
});

test("a message that comes twice is told once", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const told = [];
  ben.client.on("message", ({ seq }) => told.push(seq));
  await anna.client.send({ conversation: id, body: "hello" });
  await until(ben.client, "message", () => told.length === 1);
  host.pushAll({ message: ben.client.messages(id)[0] });
  await ben.client.request("users", { ids: [] });
  assert.deepEqual(told, [1]);
});

test("a drain opens the new socket before the old one goes, and nothing fails meanwhile", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const states = [];
  ben.client.on("state", ({ state }) => states.push(state));
  const over = heard(ben.client, "state", state("connected"));
  host.pushAll({ reconnect: { after_ms: 5 } });
  const sent = Array.from({ length: 50 }, (_, n) => anna.client.send({ conversation: id, body: `${n}` }));
  await Promise.all([over, ...sent]);
  await until(ben.client, "timeline", () => bodies(ben.client, id).length === 50);
  assert.deepEqual(states, ["connected"], "at no time was there no session");
  assert.deepEqual(bodies(ben.client, id), Array.from({ length: 50 }, (_, n) => `${n}`));
});

test("requests beyond the host's limit wait their turn and share frames", async (t) => {
  const host = await hostFor(t, { hello: { max_in_flight: 3 } });
  const { client } = await person(t, host, "anna");
  const frames = host.frames;
  const answers = await Promise.all(Array.from({ length: 9 }, () => client.request("conversations")));
  assert.equal(answers.length, 9);
  assert.equal(host.frames - frames, 3, "three requests a frame");
});

test("frames stay under the host's limit, and a request over it fails by itself", async (t) => {
  const host = await hostFor(t, { hello: { max_frame_bytes: 1_000 } });
  const { client } = await person(t, host, "anna");
  const frames = host.frames;
  const queries = Array.from({ length: 4 }, () => client.request("users", { query: "x".repeat(400) }));
  await assert.rejects(client.request("users", { query: "ü".repeat(500) }), { code: "too_large" });
  await Promise.all(queries);
  assert.equal(host.frames - frames, 2, "two requests a frame");
});

test("a request of a later protocol is refused by name", async (t) => {
  const host = await hostFor(t);
  const { client } = await person(t, host, "anna");
  await assert.rejects(client.request("dance"), { code: "unknown_request", temporary: false });
});

test("a request without a connection fails at once and as temporary", async (t) => {
  const host = await hostFor(t);
  const { client } = await person(t, host, "anna");
  client.stop();
  await assert.rejects(client.request("conversations"), { code: "connection_lost", temporary: true });
});

test("a host that owes an answer and falls silent counts as gone", async (t) => {
  const host = await hostFor(t);
  const { anna, id } = await pair(t, host, { timeoutMs: 80 });
  host.faults.send.push("silence");
  const waits = heard(anna.client, "state", state("waiting"));
  const sent = anna.client.send({ conversation: id, body: "hello" });
  await waits;
  assert.equal((await sent).seq, 1, "it was sent again over the next connection");
});

// An idle socket was taken for a dead one: the answer that ended its last request had begun the wait for the next.
test("a host that owes nothing may be silent for as long as it likes", async (t) => {
  const host = await hostFor(t);
  const { client } = await person(t, host, "anna", { timeoutMs: 400 });
  await client.request("conversations");
  const connects = host.count("connect");
  await new Promise((resolve) => setTimeout(resolve, 900));
  assert.equal(host.count("connect"), connects);
  assert.equal(client.state, "connected");
});

test("an expired access token is renewed before connecting", async (t) => {
  const host = await hostFor(t);
  const anna = await person(t, host, "anna");
  anna.client.stop();
  host.expireTokens();
  const back = heard(anna.client, "state", state("connected"));
  anna.client.start();
  await back;
});

test("a token that cannot be renewed ends it, and the login is forgotten", async (t) => {
  const host = await hostFor(t);
  const anna = await person(t, host, "anna");
  const end = heard(anna.client, "state", state("stopped"));
  await anna.auth.logout();
  assert.equal((await end).code, 3504);
  const again = heard(anna.client, "state", state("stopped"));
  anna.client.start();
  assert.equal((await again).error.code, "unauthorised");
  assert.equal(anna.auth.user, null);
});

test("a minted token that the host refuses twice ends it", async (t) => {
  const host = await hostFor(t);
  const client = new Client({ server: host.url, auth: { token: async () => "forged" }, WebSocket });
  t.after(() => client.stop());
  const end = heard(client, "state", state("stopped"));
  client.start();
  assert.equal((await end).error.code, "unauthorised");
});

test("tokens are renewed once for all who ask at the same time", async (t) => {
  const host = await hostFor(t);
  const anna = await person(t, host, "anna");
  const stale = await anna.auth.token();
  const fresh = await Promise.all([anna.auth.token(stale), anna.auth.token(stale), anna.auth.token(stale)]);
  assert.equal(new Set(fresh).size, 1);
  assert.notEqual(fresh[0], stale);
  assert.equal(await anna.auth.token(), fresh[0]);
});

test("tokens are renewed when four fifths of their life are over", async (t) => {
  let now = Date.now();
  const host = await hostFor(t, { ttlMs: 100_000 });
  const auth = new Auth({ server: host.url, now: () => now });
  t.after(() => auth.close());
  await auth.register({ name: "anna", password: "correct horse" });
  const first = await auth.token();
  now += 79_000;
  assert.equal(await auth.token(), first);
  now += 2_000;
  assert.notEqual(await auth.token(), first);
});

test("wrong credentials and a taken name are told apart", async (t) => {
  const host = await hostFor(t);
  const auth = new Auth({ server: host.url });
  t.after(() => auth.close());
  await auth.register({ name: "anna", password: "correct horse" });
  await assert.rejects(auth.login({ name: "anna", password: "wrong horse" }), { code: "unauthorised" });
  await assert.rejects(auth.register({ name: "anna", password: "correct horse" }), { code: "conflict", field: "name" });
});

test("a host that is away is tried again until it is back", async (t) => {
  const host = await hostFor(t);
  const anna = await person(t, host, "anna");
  const waits = heard(anna.client, "state", state("waiting"));
  await host.stop();
  await waits;
  await heard(anna.client, "state", state("waiting"));
  assert.equal(anna.client.state, "waiting");
});

test("another device of the same login is another session", async (t) => {
  const host = await hostFor(t);
  const anna = await person(t, host, "anna");
  const phone = await connected(t, host, anna.auth);
  const devices = host.requests.filter(({ connect }) => connect).map(({ connect }) => connect.device.id);
  assert.equal(new Set(devices).size, 2);
  assert.equal(phone.client.user.id, anna.user.id);
});

test("a host that cannot take the session now is asked again", async (t) => {
  const host = await hostFor(t);
  const { client } = await person(t, host, "anna");
  host.faults.connect.push({ code: "unavailable", message: "not now", temporary: true, retry_after_ms: 40 });
  const waits = heard(client, "state", state("waiting"));
  const back = heard(client, "state", state("connected"));
  host.closeAll(3003);
  await waits;
  await back;
});

test("history that cannot be had now is asked for again", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  ben.client.stop();
  await anna.client.send({ conversation: id, body: "hello" });
  host.faults.history.push({ code: "unavailable", message: "not now", temporary: true });
  ben.client.start();
  await until(ben.client, "timeline", () => bodies(ben.client, id).length === 1);
});

test("what was known of another store is forgotten", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const arrives = heard(ben.client, "message");
  await anna.client.send({ conversation: id, body: "hello" });
  await arrives;
  const reset = heard(ben.client, "reset");
  const back = heard(ben.client, "state", state("connected"));
  host.epoch = "2";
  host.closeAll(3003);
  await reset;
  await back;
  assert.deepEqual(bodies(ben.client, id), [], "what was here is of the old store");
  await ben.client.older(id);
  assert.deepEqual(bodies(ben.client, id), ["hello"]);
});
