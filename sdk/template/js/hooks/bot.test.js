// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { reset, said, sent, transaction } from "../godwit/sdk/js/testing.mjs";
const { bot } = await import("../src/bot.js");

test("a mention is answered and a message is not", () => {
  reset();
  transaction(() => bot.onEvent(said("hello")));
  assert.deepEqual(sent(), []);
  transaction(() => bot.onEvent(said("hello", "mentioned")));
  assert.deepEqual(sent(), ["You said: hello"]);
});
