// Answers HTTP requests to `/v1/hooks/{plugin}/count`: counts them.
import { get, set } from "godwit:plugin/kv@0.1.0";

/** @param {string} text */
const encode = (text) => new TextEncoder().encode(text);

/** @type {import("godwit:plugin/inbound@0.1.0").Inbound} */
export const inbound = {
  handle(request) {
    if (request.path !== "count") return { status: 404, media: "text", body: encode("There is only /count.") };
    const before = get("requests");
    const requests = (before ? Number(new TextDecoder().decode(before)) : 0) + 1;
    set("requests", encode(String(requests)), undefined);
    return { status: 200, media: "json", body: encode(JSON.stringify({ requests })) };
  },
};
