// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { host, id, reset } from "../godwit/sdk/js/testing.mjs";
const { notifier } = await import("../src/notifier.js");

test("a device that is gone is told", () => {
  reset();
  host.answerHttp = ({ url }) => ({ status: url.endsWith("/known") ? 202 : 410, headers: [], body: new Uint8Array() });
  const notification = { kind: "example", user: id(2), device: "1", conversation: id(1), seq: 1n, sender: id(3) };
  assert.equal(notifier.notify({ ...notification, endpoint: "known" }).tag, "sent");
  assert.equal(notifier.notify({ ...notification, endpoint: "unknown" }).tag, "gone");
});
