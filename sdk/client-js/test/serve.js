// Serves the page over the host in memory, with the policy that the real host sends: to look at the page alone.

import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { startHost } from "./host.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Answers `/`, `/web/*` and `/sdk/*` from the folders of this repository. */
export async function serveFile(request, response, path) {
  const file = path === "/" ? "host/web/index.html" : path.replace(/^\/web\//, "host/web/").replace(/^\/sdk\//, "sdk/client-js/");
  if (file.includes("..") || file === path) return response.writeHead(404).end();
  const text = await readFile(join(ROOT, file)).catch(() => null);
  if (text === null) return response.writeHead(404).end();
  const headers = { "content-type": TYPES[extname(file)] ?? "text/plain", "content-security-policy": POLICY, "cache-control": "no-store" };
  response.writeHead(200, headers).end(text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const host = await startHost({ port: Number(process.env.PORT ?? 0), serveFile });
  console.log(`listening on ${host.url}`);
}
