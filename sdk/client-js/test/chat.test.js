// What a person sees: messages in order, marks, groups, history.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bodies, connected, heard, hostFor, pair, person, until } from "./people.js";

test("a message reaches the other one under the number that its sender is told", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const arrives = heard(ben.client, "message");
  const sent = await anna.client.send({ conversation: id, body: "hello" });
  const message = await arrives;
  assert.equal(sent.seq, 1);
  assert.deepEqual([message.seq, message.body, message.sender], [1, "hello", anna.user.id]);
});

test("a message to a user makes the direct conversation", async (t) => {
  const host = await hostFor(t);
  const [anna, ben] = [await person(t, host, "anna"), await person(t, host, "ben")];
  const arrives = heard(ben.client, "message");
  await anna.client.send({ to: ben.user.id, body: "hello" });
  const { conversation } = await arrives;
  await until(anna.client, "timeline", () => bodies(anna.client, conversation).length === 1);
  assert.equal(anna.client.conversations.get(conversation).peer.name, "ben");
});

test("an own message is delivered when it arrived and read when it was seen", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const delivered = heard(anna.client, "receipt");
  const message = await anna.client.send({ conversation: id, body: "hello" });
  assert.equal(anna.client.status(message), "sent");
  await delivered;
  assert.equal(anna.client.status(message), "delivered");
  const read = heard(anna.client, "receipt");
  ben.client.read(id);
  await read;
  assert.equal(anna.client.status(message), "read");
});

test("a group message is read when everyone has seen it", async (t) => {
  const host = await hostFor(t);
  const { anna, ben } = await pair(t, host);
  const cleo = await person(t, host, "cleo");
  const told = [ben, cleo].map(({ client }) => heard(client, "conversation", ({ kind }) => kind === "group"));
  const group = await anna.client.createGroup({ title: "Three", members: [ben.user.id, cleo.user.id] });
  await Promise.all(told);
  const arrived = [ben, cleo].map(({ client }) => heard(client, "message"));
  const message = await anna.client.send({ conversation: group.id, body: "hello" });
  await Promise.all(arrived);
  ben.client.read(group.id);
  await until(anna.client, "receipt", () => anna.client.status(message) === "delivered");
  cleo.client.read(group.id);
  await until(anna.client, "receipt", () => anna.client.status(message) === "read");
});

test("unread counts rise with messages and fall with reading", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  for (const body of ["one", "two", "three"]) anna.client.send({ conversation: id, body });
  await until(ben.client, "conversation", () => ben.client.conversations.get(id).unread === 3);
  assert.equal(anna.client.conversations.get(id).unread, 0, "one's own messages are read");
  ben.client.read(id);
  await until(ben.client, "conversation", () => ben.client.conversations.get(id).unread === 0);
});

test("a batch of messages costs one mark, not one each", async (t) => {
  const host = await hostFor(t);
  const anna = await person(t, host, "anna");
  const ben = await person(t, host, "ben");
  const { id } = await anna.client.direct(ben.user.id);
  ben.client.stop();
  for (let n = 1; n <= 100; n++) anna.client.send({ conversation: id, body: `${n}` });
  await until(anna.client, "sent", () => anna.client.outbox.length === 0);
  ben.client.start();
  await until(ben.client, "conversation", () => ben.client.conversations.get(id)?.received_seq === 100);
  assert.equal(host.count("received"), 1);
});

test("reading here is known to one's other device", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const phone = await connected(t, host, ben.auth);
  await anna.client.send({ conversation: id, body: "hello" });
  await until(phone.client, "conversation", () => phone.client.conversations.get(id).unread === 1);
  await until(ben.client, "timeline", () => ben.client.messages(id).length === 1);
  ben.client.read(id);
  await until(phone.client, "conversation", () => phone.client.conversations.get(id).unread === 0);
});

test("what one's other device sends appears here", async (t) => {
  const host = await hostFor(t);
  const { anna, id } = await pair(t, host);
  const phone = await connected(t, host, anna.auth);
  const appears = heard(anna.client, "message");
  await phone.client.send({ conversation: id, body: "from the phone" });
  assert.equal((await appears).body, "from the phone");
  assert.equal(anna.client.conversations.get(id).unread, 0, "one's own messages are read");
});

test("history is paged back to the first message", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const all = Array.from({ length: 120 }, (_, n) => `${n + 1}`);
  for (const body of all) anna.client.send({ conversation: id, body });
  await until(ben.client, "conversation", () => ben.client.conversations.get(id).received_seq === 120);
  const phone = await connected(t, host, ben.auth);
  assert.deepEqual(bodies(phone.client, id), [], "what was delivered before is loaded on demand");
  await phone.client.older(id);
  assert.deepEqual(bodies(phone.client, id), all.slice(70));
  await Promise.all([phone.client.older(id), phone.client.older(id)]);
  assert.deepEqual(bodies(phone.client, id), all.slice(20), "two calls at once share a page");
  await phone.client.older(id);
  assert.deepEqual(bodies(phone.client, id), all);
  assert.ok(phone.client.isComplete(id));
});

test("messages past the bound leave memory and can be had again", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host, { keepMessages: 10 });
  for (let n = 1; n <= 25; n++) anna.client.send({ conversation: id, body: `${n}` });
  await until(ben.client, "conversation", () => ben.client.conversations.get(id).received_seq === 25);
  assert.equal(bodies(ben.client, id)[0], "16");
  await ben.client.older(id, 5);
  assert.equal(bodies(ben.client, id)[0], "11");
});

test("a newcomer is told of the group and its revisions are heard", async (t) => {
  const host = await hostFor(t);
  const { anna, ben } = await pair(t, host);
  const group = await anna.client.createGroup({ title: "Two", members: [] });
  const phone = await connected(t, host, anna.auth);
  await anna.client.send({ conversation: group.id, body: "before" });
  const told = heard(ben.client, "conversation", ({ kind }) => kind === "group");
  const revision = heard(anna.client, "revision");
  const after = await anna.client.invite(group.id, [ben.user.id]);
  assert.equal((await told).unread, 0);
  assert.equal((await revision).join.user, ben.user.id);
  await until(phone.client, "conversation", () => phone.client.conversations.get(group.id).members.length === 2);
  assert.deepEqual(after.members, [anna.user.id, ben.user.id]);
  await ben.client.older(group.id);
  assert.deepEqual(bodies(ben.client, group.id), [], "what was sent before is not for newcomers");
  assert.ok(ben.client.isComplete(group.id));
  assert.deepEqual((await ben.client.members(group.id)).map(({ role }) => role), ["owner", "member"]);
});

test("people are found by their whole name, and asked for by id all at once", async (t) => {
  const host = await hostFor(t);
  const { anna, ben } = await pair(t, host);
  const cleo = await person(t, host, "cleo");
  assert.equal((await anna.client.findUser("cleo")).id, cleo.user.id);
  assert.equal(await anna.client.findUser("cle"), null);
  const known = until(ben.client, "user", () => ben.client.users.has(cleo.user.id));
  const asked = host.count("users");
  assert.equal(ben.client.person(cleo.user.id), null);
  assert.equal(ben.client.person(cleo.user.id), null);
  await known;
  assert.equal(ben.client.person(cleo.user.id).name, "cleo");
  assert.equal(host.count("users"), asked + 1);
});

test("older conversations follow page by page", async (t) => {
  const host = await hostFor(t);
  const anna = await person(t, host, "anna");
  for (let n = 1; n <= 60; n++) await anna.client.createGroup({ title: `${n}`, members: [] });
  const phone = await connected(t, host, anna.auth);
  assert.equal(phone.client.list.length, 50);
  assert.equal(phone.client.list[0].title, "60");
  assert.ok(phone.client.hasMoreConversations);
  const first = anna.client.list.find(({ title }) => title === "1");
  assert.equal((await phone.client.conversation(first.id)).title, "1", "one that is not known is asked for");
  await phone.client.moreConversations();
  assert.equal(phone.client.list.length, 60);
  assert.ok(!phone.client.hasMoreConversations);
});

test("a large conversation that is open comes live, over reconnecting too, and another one is fetched by its heads", async (t) => {
  const host = await hostFor(t, { hello: { follow_above: 1 } });
  const { anna, ben, id } = await pair(t, host);
  const name = (frame) => Object.keys(frame)[0];
  const told = [];
  for (const push of ["message", "heads"]) ben.client.on(`push:${push}`, () => told.push(push));
  const arrives = (body) => heard(ben.client, "message", (message) => message.body === body);
  const say = async (body) => {
    const arrived = arrives(body);
    await anna.client.send({ conversation: id, body });
    await arrived;
  };
  await say("not open");
  assert.deepEqual(told, ["heads"]);
  ben.client.follow(id);
  await ben.client.request("active", { active: true });
  await say("open");
  assert.deepEqual(told, ["heads", "message"]);
  const again = heard(ben.client, "state", ({ state }) => state === "connected");
  host.closeAll(3000);
  await again;
  await ben.client.request("active", { active: true });
  await say("open again");
  assert.deepEqual(told, ["heads", "message", "message"]);
  ben.client.unfollow(id);
  await ben.client.request("active", { active: true });
  await say("closed");
  assert.deepEqual(told, ["heads", "message", "message", "heads"]);
  assert.deepEqual(bodies(ben.client, id), ["not open", "open", "open again", "closed"]);
  assert.deepEqual(host.requests.map(name).filter((name) => name.endsWith("follow")), ["follow", "follow", "unfollow"]);
});

test("whether a person looks is told when it changes, and with each connection", async (t) => {
  const host = await hostFor(t);
  const { client } = await person(t, host, "anna");
  client.setActive(true);
  client.setActive(false);
  const again = heard(client, "state", ({ state }) => state === "connected");
  host.closeAll(3000);
  await again;
  const told = host.requests.flatMap((request) => ("active" in request ? [request.active.active] : "connect" in request ? [request.connect.active] : []));
  assert.deepEqual(told, [true, false, false]);
});
