// Starts the real binary on free ports over a folder of its own, and speaks to its admin listener.
// GODWIT_BIN names the binary; GODWIT_WORDFILTER and GODWIT_WORDFILTER_WASM the word filter's folder and component, where
// they are not what the build leaves.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, "target");
const BINARY = process.env.GODWIT_BIN ?? join(TARGET, "release/godwit");
const WORDFILTER = process.env.GODWIT_WORDFILTER ?? join(ROOT, "plugins/wordfilter");
const COMPONENT = process.env.GODWIT_WORDFILTER_WASM ?? join(TARGET, "wasm32-wasip2/guest/wordfilter.wasm");

// The host refuses settings that it does not know, those of its tests included.
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GODWIT_")));
// Tests write and log in faster than people.
const SETTINGS = "[limits]\nsends_per_s = 0\nlogins_per_minute = 0\n";

/** A server that ends with the test, and its folder with it. */
export async function startServer(t) {
  const data = await mkdtemp(join(tmpdir(), "godwit-browser-"));
  const server = new Server(data);
  t.after(async () => {
    await server.kill();
    await rm(data, { recursive: true });
  });
  await writeFile(server.settings, SETTINGS);
  await server.start();
  return server;
}

class Server {
  #process = null;
  #log = [];

  constructor(data) {
    this.data = data;
    this.settings = join(data, "test.toml");
  }

  /** Where people open the page; the same after a restart. */
  url = "http://127.0.0.1:0";

  async start() {
    const listen = new URL(this.url).host;
    const args = ["serve", "--data", join(this.data, "store"), "--listen", listen, "--admin", "127.0.0.1:0", "--config", this.settings];
    this.#process = spawn(BINARY, args, { env: ENVIRONMENT, stdio: ["ignore", "pipe", "pipe"] });
    createInterface({ input: this.#process.stderr }).on("line", (line) => this.#log.push(line));
    const ended = once(this.#process, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code}:\n${this.#log.join("\n")}`);
    });
    // Once it serves, ending is the test's doing.
    ended.catch(() => {});
    const [line] = await Promise.race([once(createInterface({ input: this.#process.stdout }), "line"), ended]);
    const [, address, admin] = line.match(/^listening on (\S+) admin (\S+)$/) ?? [];
    if (!admin) throw new Error(`the server said: ${line}`);
    this.url = `http://${address}`;
    this.admin = `http://${admin}`;
    this.token = (await readFile(join(this.data, "store/admin-token"), "utf8")).trim();
  }

  /** Ends it without a warning, as a power cut would. */
  async kill() {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  /** Installs the word filter, or swaps it for itself with another configuration. */
  async installWordfilter(config) {
    const form = new FormData();
    form.append("manifest", await readFile(join(WORDFILTER, "plugin.toml"), "utf8"));
    form.append("component", new Blob([await readFile(COMPONENT)]), "wordfilter.wasm");
    form.append("grant", JSON.stringify({ capabilities: [] }));
    form.append("config", JSON.stringify(config));
    const response = await fetch(`${this.admin}/admin/v1/plugins/wordfilter`, {
      method: "PUT",
      headers: { authorization: `Bearer ${this.token}` },
      body: form,
    });
    const answer = await response.text();
    if (response.status !== 200) throw new Error(`the plugin was refused with ${response.status}: ${answer}`);
    return JSON.parse(answer);
  }
}
