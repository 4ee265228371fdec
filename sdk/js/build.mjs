// Makes a component: `node build.mjs ENTRY WIT-FOLDER OUTPUT`; `godwit plugin build` calls it.
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, output] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName: "plugin",
  // What no plugin can use is not in it.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(output, component);
