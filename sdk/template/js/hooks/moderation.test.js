// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { host, message, reset, scene } from "../godwit/sdk/js/testing.mjs";
const { moderation } = await import("../src/moderation.js");
const { lifecycle } = await import("../src/config.js");

test("the word is refused in any case", () => {
  reset();
  lifecycle.init('{ "word": "End" }');
  const verdict = moderation.review(scene(), message("The END"));
  assert.deepEqual(verdict, { tag: "reject", val: { code: "not-here", text: 'Please write about "end" elsewhere.' } });
  assert.deepEqual(host.lines, [["info", "refused something of ada"]]);
  assert.equal(moderation.review(scene(), message("The beginning")).tag, "allow");
});
