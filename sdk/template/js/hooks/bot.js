// Hears events: whoever mentions the plugin's user is answered.
import { send } from "godwit:plugin/chat@0.1.0";

/** @type {import("godwit:plugin/bot@0.1.0").Bot} */
export const bot = {
  onEvent({ what }) {
    if (what.tag !== "mentioned") return;
    const { conversation, content } = what.val.message;
    const answer = { kind: /** @type {const} */ ("text"), body: `You said: ${content.body}`, attachments: [], mentions: [] };
    send({ tag: "conversation", val: conversation }, answer);
  },
};
