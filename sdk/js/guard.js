// Stands between the host and a plugin's hooks: an error that nobody caught is logged with its stack before it ends
// the call, so that its author reads what it was and on which line.
import { log } from "godwit:plugin/log@0.1.0";

/** What a hook exports, with every error logged that is no answer. */
export function guard(name, hook) {
  if (!hook) {
    throw new Error(`src/plugin.js exports no \`${name}\`, which plugin.toml names among its hooks`);
  }
  const guarded = {};
  for (const [method, run] of Object.entries(hook)) {
    guarded[method] = (...given) => {
      try {
        return run.apply(hook, given);
      } catch (error) {
        // Whatever else is thrown is the answer `err`.
        if (error instanceof Error && !Object.hasOwn(error, "payload")) log("error", told(error));
        throw error;
      }
    };
  }
  return guarded;
}

/** The `init` of a plugin, which may have none. */
export const init = (lifecycle) => guard("lifecycle", lifecycle ?? { init() {} });

function told(error) {
  // The last frames are this file's.
  const own = (line) => line !== "" && !line.includes("guard.js") && !line.includes("initializer.js");
  const stack = (error.stack ?? "").split("\n").filter(own);
  // Sources are copied there to be built.
  const frames = stack.map((line) => `  at ${line.replace("@", " ").replace(".godwit/build/", "")}`);
  return [`${error.name}: ${error.message}`, ...frames].join("\n");
}
