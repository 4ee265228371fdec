// Slash commands: which there are, and what they answer to who gives them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../id.js";
import { hostFor, pair } from "./people.js";

test("a command is listed with what it takes, and answered to who gave it", async (t) => {
  const host = await hostFor(t);
  const { anna, id } = await pair(t, host);
  const [command] = await anna.client.commands(id);
  assert.deepEqual([command.plugin, command.name, command.arguments[0].type], ["echo", "echo", "text"]);
  const give = (text, client_id) => anna.client.command({ conversation: id, name: "echo", arguments: { text }, client_id });
  assert.equal((await give("hello")).body, "hello");
  assert.equal(await give(""), null);
  const again = clientId();
  assert.deepEqual([(await give("one", again)).body, (await give("two", again)).body], ["one", "one"]);
});

test("what is wrong with a command is told", async (t) => {
  const host = await hostFor(t);
  const { anna, id } = await pair(t, host);
  const wrong = [
    [{ conversation: id, name: "dance" }, "not_found"],
    [{ conversation: id, name: "echo" }, "invalid"],
  ];
  for (const [command, code] of wrong) await assert.rejects(anna.client.command(command), { code });
});
