// Messages on their way out: kept until the host's answer is definite, sent again under the same client id, and in each
// conversation in the order in which they were written. What the host holds is kept until its verdict comes.
// It knows storage and a way to make a request, no socket.

import { Backoff } from "./backoff.js";
import { clientId } from "./id.js";

const PREFIX = "outbox/";
// These fields of an entry are its own; all others are the request's.
const OWN_FIELDS = ["state", "error", "held", "at", "seen_seq"];
// What is in these states is done with until somebody decides: what was written later goes on.
const RESTING = ["refused", "held"];

/** What was written and is not settled. */
export class Outbox {
  #storage;
  #call;
  #onChange;
  #onSent;
  #onRefused;
  #backoffOptions;
  #entries = new Map();
  #paused = new Map();
  #online = false;

  /**
   * @param {object} options
   * @param {import("./index.d.ts").Storage} options.storage
   * @param {object} options.backoff
   * @param {(payload: object, done: (error: any, ok?: any) => void) => void} options.call Makes the request `send`.
   * @param {(entry: object) => void} options.onChange
   * @param {(entry: object, ok: object) => void} options.onSent
   * @param {(entry: object, error: Error) => void} options.onRefused
   */
  constructor({ storage, backoff, call, onChange, onSent, onRefused }) {
    this.#storage = storage;
    this.#backoffOptions = backoff;
    this.#call = call;
    this.#onChange = onChange;
    this.#onSent = onSent;
    this.#onRefused = onRefused;
    // Client ids rise with time, so sorted keys are the order of writing.
    for (const key of storage.keys().filter((key) => key.startsWith(PREFIX)).sort()) {
      const entry = JSON.parse(storage.get(key));
      this.#entries.set(entry.client_id, entry);
    }
  }

  /** All entries in the order of writing. */
  get entries() {
    return [...this.#entries.values()];
  }

  /** Takes over a message; it is kept when this returns. */
  add(message) {
    const entry = { ...message, client_id: clientId(), at: Date.now(), state: "waiting" };
    this.#keep(entry);
    this.#entries.set(entry.client_id, entry);
    this.#onChange(entry);
    this.#pump(lane(entry));
    return entry;
  }

  /** Forgets a refused message. What is not refused may have been accepted already, and cannot be taken back. */
  discard(id) {
    const entry = this.#entries.get(id);
    if (entry?.state !== "refused") return false;
    this.#remove(entry);
    this.#onChange(entry);
    return true;
  }

  /**
   * There is a session: sends what waits, and asks again about what the host no longer holds.
   * @param {{client_id: string, reason: string, until: number}[]} held What it holds.
   */
  online(held = []) {
    this.#online = true;
    const holds = new Map(held.map(({ client_id, reason, until }) => [client_id, { reason, until }]));
    for (const entry of this.#entries.values()) {
      if (holds.has(entry.client_id) && entry.state !== "refused") this.#hold(entry, holds.get(entry.client_id));
      else if (entry.state === "held") this.#set(entry, "waiting");
    }
    for (const key of new Set(this.entries.map(lane))) this.#pump(key);
  }

  /** There is none: what was on its way waits, its outcome being unknown. */
  offline() {
    this.#online = false;
    for (const { timer } of this.#paused.values()) clearTimeout(timer);
    this.#paused.clear();
    for (const entry of this.#entries.values()) if (entry.state === "sending") this.#set(entry, "waiting");
  }

  /** The host has decided about a message that it held: `verdict` is what it pushed. */
  settle({ client_id, rejected, ...sent }) {
    const entry = this.#entries.get(client_id);
    if (!entry) return;
    if (rejected === undefined || rejected === null) this.#accepted(entry, sent);
    else this.#refuse(entry, { code: "moderated", message: rejected, field: null });
  }

  // One at a time per conversation: what follows leaves when the one before is settled, so a retry cannot be overtaken.
  #pump(key) {
    if (!this.#online || this.#paused.get(key)?.timer) return;
    const next = this.entries.find((entry) => lane(entry) === key && !RESTING.includes(entry.state));
    if (next?.state === "waiting") this.#send(next);
  }

  #send(entry) {
    this.#set(entry, "sending");
    const payload = Object.fromEntries(Object.entries(entry).filter(([name]) => !OWN_FIELDS.includes(name)));
    this.#call(payload, (error, ok) => {
      if (!error && ok.held) this.#rest(entry, ok.held);
      else if (!error) this.#accepted(entry, ok);
      // A session that may not speak any more is about to be closed: the message is not at fault.
      else if (error.code === "connection_lost" || error.code === "unauthorised") this.#set(entry, "waiting");
      else if (error.temporary) this.#pause(entry, error);
      else this.#refuse(entry, error);
    });
  }

  #rest(entry, held) {
    const key = lane(entry);
    this.#paused.delete(key);
    this.#hold(entry, held);
    this.#pump(key);
  }

  #hold(entry, held) {
    entry.held = held;
    this.#set(entry, "held");
    this.#keep(entry);
  }

  #accepted(entry, ok) {
    // A verdict and the answer to a retry may both come.
    if (!this.#entries.has(entry.client_id)) return;
    const key = lane(entry);
    this.#paused.delete(key);
    this.#remove(entry);
    this.#onSent(entry, ok);
    this.#pump(key);
  }

  #refuse(entry, { code, message, field }) {
    const key = lane(entry);
    this.#paused.delete(key);
    delete entry.held;
    entry.error = { code, message, field };
    this.#set(entry, "refused");
    this.#keep(entry);
    this.#onRefused(entry, entry.error);
    this.#pump(key);
  }

  #pause(entry, { retryAfterMs }) {
    this.#set(entry, "waiting");
    const key = lane(entry);
    const pause = this.#paused.get(key) ?? { backoff: new Backoff(this.#backoffOptions), timer: null };
    this.#paused.set(key, pause);
    pause.timer = setTimeout(() => {
      pause.timer = null;
      this.#pump(key);
    }, Math.max(retryAfterMs, pause.backoff.next()));
  }

  #set(entry, state) {
    if (entry.state === state) return;
    entry.state = state;
    this.#onChange(entry);
  }

  #keep(entry) {
    const state = RESTING.includes(entry.state) ? entry.state : "waiting";
    this.#storage.set(PREFIX + entry.client_id, JSON.stringify({ ...entry, state }));
  }

  #remove(entry) {
    this.#entries.delete(entry.client_id);
    this.#storage.remove(PREFIX + entry.client_id);
  }
}

// The line in which a message stands: order is kept within it.
function lane({ conversation, to }) {
  return conversation ?? `to ${to}`;
}
