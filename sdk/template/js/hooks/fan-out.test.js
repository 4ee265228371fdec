// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { facts, scene, stored } from "../godwit/sdk/js/testing.mjs";
const { fanOut } = await import("../src/fan-out.js");

test("a large conversation is for those who follow", () => {
  assert.equal(fanOut.choose(scene(), stored("hello"), facts(50)), undefined);
  assert.equal(fanOut.choose(scene(), stored("hello"), facts(51))?.live.tag, "followers");
});
