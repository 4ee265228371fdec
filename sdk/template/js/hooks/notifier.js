// Delivers notifications to devices of the kind `example`, by a server that the manifest names.
import { fetch } from "godwit:plugin/http@0.1.0";

/** @type {import("godwit:plugin/notifier@0.1.0").Notifier} */
export const notifier = {
  kinds: () => ["example"],
  notify({ endpoint, preview }) {
    const answer = fetch({
      method: "POST",
      url: `https://push.example.com/${endpoint}`,
      headers: [{ name: "content-type", value: "text/plain" }],
      body: new TextEncoder().encode(preview ?? "New message"),
    });
    if (answer.status >= 200 && answer.status < 300) return { tag: "sent" };
    if (answer.status === 404 || answer.status === 410) return { tag: "gone" };
    // What is thrown and is no Error is the answer `err`: here, to be asked again later.
    throw { tag: "retry", val: `the server answered ${answer.status}` };
  },
};
