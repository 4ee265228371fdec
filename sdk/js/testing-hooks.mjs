// Gives `godwit:plugin/…` to modules under test: what `testing.mjs` keeps. Node calls it, in a thread of its own.
const PREFIX = "godwit:plugin/";
const NAMES = {
  log: ["log"],
  rate: ["hit", "peek"],
  state: ["get", "getMany"],
  zone: ["local", "instant"],
  kv: ["get", "set", "delete", "scan"],
  chat: ["send", "edit", "delete", "react", "typing", "history", "members", "findUser"],
  timer: ["set", "cancel"],
  http: ["fetch"],
  secret: ["get"],
};

export async function resolve(specifier, context, next) {
  return specifier.startsWith(PREFIX) ? { url: specifier, shortCircuit: true } : next(specifier, context);
}

export async function load(url, context, next) {
  if (!url.startsWith(PREFIX)) return next(url, context);
  const name = url.slice(PREFIX.length).split("@")[0];
  const functions = NAMES[name];
  if (!functions) throw new Error(`${url} is no service of the host`);
  // Each call asks the host anew, so that a test may replace what is there; `delete` cannot be a function's own name.
  const source = functions.map(
    (call) =>
      `const ${call}_ = (...given) => globalThis.godwitHost.services.${name}.${call}(...given);\n` +
      `export { ${call}_ as ${call} };`,
  );
  return { format: "module", source: source.join("\n"), shortCircuit: true };
}
