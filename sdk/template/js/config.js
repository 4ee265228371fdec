// What an operator sets, as `[config.schema]` in plugin.toml describes it.

/** What the hooks read. */
export const config = { word: "spoiler" };

/** @type {import("godwit:plugin/lifecycle@0.1.0").Lifecycle} */
export const lifecycle = {
  // Called once in each instance; what it throws is told to the operator.
  init(text) {
    const given = JSON.parse(text || "{}");
    config.word = (given.word ?? "spoiler").toLowerCase();
  },
};
