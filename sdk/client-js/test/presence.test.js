// Who is here, who is writing, and what people say of themselves.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, heard, hostFor, pair, person, until } from "./people.js";

test("who is watched is told of, and again after a connection that was lost", async (t) => {
  const host = await hostFor(t);
  const { client } = await person(t, host, "anna");
  const first = heard(client, "presence");
  client.watch(["b", "b"]);
  assert.deepEqual(await first, { user: "b", online: false, last_seen: 7 });
  const comes = heard(client, "presence");
  host.come("b", true);
  assert.deepEqual(await comes, { user: "b", online: true });
  assert.equal(client.presence("b").online, true);
  const lost = heard(client, "presence", ({ online }) => !online);
  const back = heard(client, "presence", ({ online }) => online);
  host.closeAll(3000);
  await lost;
  await back;
  assert.deepEqual(host.requests.filter(({ watch }) => watch).at(-1).watch.users, ["b"]);
  client.watch([]);
  assert.equal(client.presence("b"), null);
  assert.deepEqual(await client.askPresence(["b"]), [{ user: "b", online: true }]);
});

for (const transport of ["websocket", "sse", "poll"]) {
  test(`who is writing is told to the other one, once in a while, over ${transport}`, async (t) => {
    const host = await hostFor(t);
    const { anna, ben, id } = await pair(t, host, { transport });
    const begins = heard(ben.client, "typing");
    for (let key = 0; key < 10; key++) anna.client.typing(id);
    assert.equal(await begins, id);
    assert.deepEqual(ben.client.typists(id), [anna.user.id]);
    assert.equal(host.count("typing"), 1);
    const ends = heard(ben.client, "typing");
    await anna.client.send({ conversation: id, body: "written" });
    await ends;
    assert.deepEqual(ben.client.typists(id), []);
    const again = heard(ben.client, "typing");
    anna.client.typing(id);
    await again;
    assert.equal(host.count("typing"), 2, "what is written next is news");
  });
}

test("who stops writing is forgotten after a while, and all are with the connection", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { Presence } = await import("../presence.js");
  const changes = [];
  const presence = new Presence({ call() {}, tell() {}, onPresence() {}, onTyping: (id) => changes.push(id) });
  presence.heard({ conversation: "c", user: "a" });
  t.mock.timers.tick(5_999);
  presence.heard({ conversation: "c", user: "a" });
  t.mock.timers.tick(5_999);
  assert.deepEqual(presence.typists("c"), ["a"]);
  t.mock.timers.tick(1);
  assert.deepEqual([presence.typists("c"), changes], [[], ["c", "c"]]);
  presence.heard({ conversation: "c", user: "b" });
  presence.offline();
  assert.deepEqual([presence.typists("c"), changes.length], [[], 4]);
});

test("a changed profile is shown here, on one's other devices and to the other one", async (t) => {
  const host = await hostFor(t);
  const { anna, ben, id } = await pair(t, host);
  const { client: other } = await connected(t, host, anna.auth);
  const told = heard(ben.client, "user", ({ display_name }) => display_name === "Anna");
  const shown = until(ben.client, "conversation", () => ben.client.conversations.get(id).peer.display_name === "Anna");
  const own = heard(other, "user", ({ display_name }) => display_name === "Anna");
  const user = await anna.client.setProfile({ display_name: "Anna" });
  assert.deepEqual([user.display_name, anna.client.user.display_name], ["Anna", "Anna"]);
  await Promise.all([told, shown, own]);
  assert.equal(other.user.display_name, "Anna");
});
