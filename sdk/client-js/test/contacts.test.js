// Contacts, blocks, what a person sets for themselves, and ways into a conversation.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, heard, hostFor, pair, person, until } from "./people.js";

const states = (client) => [...client.contacts.values()].map(({ user, state }) => `${user.name} ${state}`);

test("a request that is accepted makes contacts of both, on all their devices", async (t) => {
  const host = await hostFor(t);
  const { anna, ben } = await pair(t, host);
  const phone = await connected(t, host, anna.auth);
  const asked = heard(ben.client, "contact");
  assert.equal((await anna.client.requestContact(ben.user.id)).state, "requested");
  assert.equal((await asked).state, "asked");
  await until(phone.client, "contact", () => phone.client.contacts.size === 1);
  const accepted = heard(anna.client, "contact");
  await ben.client.acceptContact(anna.user.id);
  assert.equal((await accepted).state, "friend");
  assert.deepEqual(states(ben.client), ["anna friend"]);
  await until(phone.client, "contact", () => states(phone.client)[0] === "ben friend");
});

test("who is away learns of contacts when they come back, and of those that are none any more", async (t) => {
  const host = await hostFor(t);
  const { anna, ben } = await pair(t, host);
  await anna.client.requestContact(ben.user.id);
  await ben.client.acceptContact(anna.user.id);
  anna.client.stop();
  await ben.client.removeContact(anna.user.id);
  const back = heard(anna.client, "state", ({ state }) => state === "connected");
  anna.client.start();
  await back;
  assert.deepEqual(states(anna.client), []);
});

test("a block ends a contact, and the other is told no more than that", async (t) => {
  const host = await hostFor(t);
  const { anna, ben } = await pair(t, host);
  await anna.client.requestContact(ben.user.id);
  await ben.client.acceptContact(anna.user.id);
  const ended = heard(ben.client, "contact", ({ state }) => state === "none");
  assert.equal((await anna.client.block(ben.user.id)).state, "blocked");
  await ended;
  assert.deepEqual(states(ben.client), []);
  await assert.rejects(ben.client.requestContact(anna.user.id), { code: "blocked" });
  await anna.client.unblock(ben.user.id);
  assert.equal((await ben.client.requestContact(anna.user.id)).state, "requested");
  await anna.client.declineContact(ben.user.id);
  assert.deepEqual(states(anna.client), []);
});

test("settings are in step on one's devices", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const phone = await connected(t, host, anna.auth);
  const { label, pinned } = await anna.client.set(id, { label: "birds", pinned: true });
  assert.deepEqual([label, pinned], ["birds", true]);
  await until(phone.client, "conversation", () => phone.client.conversations.get(id).pinned);
  await phone.client.set(id, { label: null });
  await until(anna.client, "conversation", () => anna.client.conversations.get(id).label === null);
  assert.equal(anna.client.conversations.get(id).pinned, true, "what is left out stays");
  assert.equal(ben.client.conversations.get(id).pinned, false);
});

test("an open channel is found and joined, a closed group by a link alone", async (t) => {
  const host = await hostFor(t);
  const [anna, ben] = [await person(t, host, "anna"), await person(t, host, "ben")];
  const channel = await anna.client.createChannel({ title: "News", open: true });
  const { conversations } = await ben.client.discover({ query: "New" });
  assert.deepEqual(conversations.map(({ id }) => id), [channel.id]);
  const joined = heard(ben.client, "conversation", ({ id }) => id === channel.id);
  await ben.client.join(channel.id);
  assert.equal((await joined).role, "reader");
  const group = await anna.client.createGroup({ title: "Two", members: [] });
  await assert.rejects(ben.client.join(group.id), { code: "not_found" });
  const { code } = await anna.client.link(group.id, { expires_in_s: 60 });
  const entered = heard(ben.client, "conversation", ({ id }) => id === group.id);
  await ben.client.join({ code });
  assert.equal((await entered).role, "member");
  const told = heard(ben.client, "revision", ({ meta }) => meta);
  await anna.client.update(group.id, { title: "Three" });
  assert.equal((await told).meta.title, "Three");
});
