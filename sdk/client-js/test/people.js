// What the tests share: people who are connected, and waiting for what they hear.

import { WebSocket } from "ws";
import { Auth, Client, memoryStorage } from "../index.js";
import { startHost } from "./host.js";

const QUICK = { baseMs: 5, maxMs: 20 };

/** A host that stops with the test. */
export async function hostFor(t, options) {
  const host = await startHost(options);
  t.after(() => host.stop());
  return host;
}

/** Someone with an account, a client that is connected, and what it keeps. */
export async function person(t, host, name, options = {}) {
  const auth = new Auth({ server: host.url });
  const user = await auth.register({ name, password: "correct horse" });
  return { name, user, auth, ...(await connected(t, host, auth, options)) };
}

/** A client over an existing login. */
export async function connected(t, host, auth, { storage = memoryStorage(), ...options } = {}) {
  const client = new Client({ server: host.url, auth, storage, WebSocket, backoff: QUICK, gapMs: 50, ...options });
  t.after(() => {
    client.stop();
    auth.close?.();
  });
  const up = heard(client, "state", ({ state }) => state === "connected");
  client.start();
  await up;
  return { client, storage };
}

/** The next event of that name for which `wanted` holds. */
export function heard(client, name, wanted = () => true) {
  return new Promise((resolve) => {
    const off = client.on(name, (detail) => {
      if (!wanted(detail)) return;
      off();
      resolve(detail);
    });
  });
}

/** Resolves once `holds` does, asked again after each event of that name. */
export async function until(client, name, holds) {
  while (!holds()) await heard(client, name);
}

/** Two people with a direct conversation that both know. */
export async function pair(t, host, options = {}) {
  const anna = await person(t, host, "anna", options);
  const ben = await person(t, host, "ben", options);
  const known = heard(ben.client, "conversation");
  const { id } = await anna.client.direct(ben.user.id);
  await known;
  return { anna, ben, id };
}

/** What the messages of a conversation say, as this client has them. */
export function bodies(client, id) {
  return client.messages(id).map(({ body }) => body);
}
