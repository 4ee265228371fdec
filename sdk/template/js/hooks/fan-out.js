// Names who gets a message live and who is notified: large conversations stay quiet.

/** Members above which a conversation is large. */
const LARGE = 50;

/** @type {import("godwit:plugin/fan-out@0.1.0").FanOut} */
export const fanOut = {
  choose(_scene, _message, facts) {
    if (facts.memberCount <= LARGE) return undefined;
    return { live: { tag: "followers" }, notified: { tag: "mentioned" } };
  },
};
