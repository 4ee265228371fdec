// Judges what other people will read: one word is not for here.
import { log } from "godwit:plugin/log@0.1.0";
import { config } from "./config.js";

/** @type {import("godwit:plugin/moderation@0.1.0").Moderation} */
export const moderation = {
  review(scene, subject) {
    if (!text(subject).toLowerCase().includes(config.word)) return { tag: "allow" };
    log("info", `refused something of ${scene.sender.name}`);
    return { tag: "reject", val: { code: "not-here", text: `Please write about "${config.word}" elsewhere.` } };
  },
};

/** What people will read, whatever it is.
 * @param {import("godwit:plugin/moderation@0.1.0").Subject} subject */
function text(subject) {
  switch (subject.tag) {
    case "message":
      return subject.val.body;
    case "edit":
      return subject.val.content.body;
    default:
      return subject.val;
  }
}
