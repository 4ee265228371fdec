// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { recipient, scene, stored } from "../godwit/sdk/js/testing.mjs";
const { delivery } = await import("../src/delivery.js");

test("a bot is quiet unless it mentions", () => {
  const said = scene();
  said.sender.bot = true;
  const people = [recipient("ben"), recipient("cem", { mentioned: true })];
  const decided = delivery.decide(said, stored("hello"), people);
  assert.deepEqual(decided.map(({ tag }) => tag), ["quiet", "normal"]);
});
