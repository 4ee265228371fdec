// Says with what attention a message reaches people: bots do not ring.

/** @type {import("godwit:plugin/delivery@0.1.0").Delivery} */
export const delivery = {
  // One answer for each recipient, in their order.
  decide(scene, _message, recipients) {
    return recipients.map(({ mentioned }) => ({ tag: scene.sender.bot && !mentioned ? "quiet" : "normal" }));
  },
};
