// Runs without a server, by `npm test`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { host, reset, transaction } from "../godwit/sdk/js/testing.mjs";
const { inbound } = await import("../src/inbound.js");

test("requests are counted", () => {
  reset();
  host.rows.set("requests", new TextEncoder().encode("41"));
  const request = { method: "POST", path: "count", headers: [], body: new Uint8Array(), address: "192.0.2.1" };
  const response = transaction(() => inbound.handle(request));
  assert.equal(new TextDecoder().decode(response.body), '{"requests":42}');
  assert.equal(new TextDecoder().decode(host.rows.get("requests")), "42");
});
