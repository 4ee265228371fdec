// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { conversation, user } from "../godwit/sdk/js/testing.mjs";
const { command } = await import("../src/command.js");

test("whoever is named is greeted", () => {
  const invocation = { name: "hello", conversation: conversation(), caller: user(2, "ada"), role: "member" };
  const run = (given) => command.run({ ...invocation, arguments: given }).val.body;
  assert.equal(run([{ name: "name", value: { tag: "text", val: "Ben" } }]), "Hello, Ben!");
  assert.equal(run([]), "Hello, everyone!");
});
