// Changes what is about to be sent: two hyphens become a dash.

/** @type {import("godwit:plugin/normalise@0.1.0").Normalise} */
export const normalise = {
  normalise(_scene, content) {
    if (!content.body.includes(" -- ")) return undefined;
    return { body: content.body.replaceAll(" -- ", " – "), mentions: content.mentions };
  },
};
