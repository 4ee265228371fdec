// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { content, scene } from "../godwit/sdk/js/testing.mjs";
const { normalise } = await import("../src/normalise.js");

test("two hyphens become a dash", () => {
  assert.equal(normalise.normalise(scene(), content("a -- b"))?.body, "a – b");
  assert.equal(normalise.normalise(scene(), content("a-b")), undefined);
});
