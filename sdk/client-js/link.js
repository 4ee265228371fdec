// Keeps one connected session to the host alive: tokens, dialling again with backoff, what the close codes ask for, and
// handing over to a new socket when the host drains. What is said over it is not its business: start at `client.js`.

import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { connectionLost } from "./errors.js";

// A session that lasted this long was a good one: the next attempt begins with short delays again.
const GOOD_SESSION_MS = 10_000;

/** The way to the host. */
export class Link {
  #options;
  #backoff;
  #current = null;
  #connectedAt = 0;
  #dialling = null;
  #timer;
  #running = false;
  #refused = null;

  /** What the host last said of itself. */
  hello = null;
  /** `idle`, `connecting`, `connected`, `waiting` (for the next attempt) or `stopped` (for good, by the host). */
  state = "idle";

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {{token: (refused: string | null) => Promise<string>}} options.auth
   * @param {typeof WebSocket} options.WebSocket
   * @param {number} options.timeoutMs
   * @param {Backoff} options.backoff
   * @param {() => object} options.introduce The fields of `connect` beside the token.
   * @param {(ok: object) => void} options.onConnected Called before any push of that session.
   * @param {() => void} options.onLost
   * @param {(name: string, value: any) => void} options.onPush
   * @param {(change: object) => void} options.onState
   */
  constructor(options) {
    this.#options = options;
    this.#backoff = options.backoff;
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    if (this.#running) return;
    this.#running = true;
    this.#refused = null;
    this.#dial();
  }

  /** Disconnects. */
  stop() {
    this.#halt("idle");
  }

  /** Tries at once if it is waiting to; makes sure of the socket if nothing was heard for a while. */
  wake() {
    if (this.state === "waiting") return this.#dial();
    const current = this.#current;
    if (!current || Date.now() - current.heardAt < (this.hello?.ping_interval_ms ?? 0)) return;
    // Any answer will do: silence is what closes a dead socket.
    current.call("users", { ids: [] }, () => {});
  }

  /** Makes a request; fails as `connection_lost` while there is no session. */
  call(name, payload, done) {
    if (this.#current) this.#current.call(name, payload, done);
    else done(connectionLost());
  }

  #set(state, detail = {}) {
    this.state = state;
    this.#options.onState({ state, ...detail });
  }

  async #dial(url = this.#options.url) {
    clearTimeout(this.#timer);
    if (!this.#running || this.#dialling) return;
    const attempt = (this.#dialling = { connection: null });
    if (!this.#current) this.#set("connecting");
    let token;
    try {
      token = await this.#options.auth.token(this.#refused);
    } catch (error) {
      if (attempt === this.#dialling) this.#failed({ error });
      return;
    }
    if (attempt !== this.#dialling) return;
    const connection = new Connection(url, {
      WebSocket: this.#options.WebSocket,
      timeoutMs: this.#options.timeoutMs,
      onOpen: () => connection.call("connect", { token, ...this.#options.introduce() }, (error, ok) => {
        if (attempt !== this.#dialling || error?.code === "connection_lost") return;
        if (!error) this.#connected(connection, ok);
        else if (error.code === "unauthorised" && token !== this.#refused) this.#again(token, connection);
        else this.#failed({ error }, connection);
      }),
      onPush: (name, value) => this.#push(connection, name, value),
      onClose: (closed) => {
        if (attempt === this.#dialling) this.#failed(closed);
        else if (connection === this.#current) this.#lost(closed);
      },
    });
    attempt.connection = connection;
  }

  #connected(connection, ok) {
    const old = this.#current;
    this.#current = connection;
    this.#dialling = null;
    this.#refused = null;
    this.#connectedAt = Date.now();
    this.hello = connection.hello;
    this.#options.onConnected(ok);
    this.#set("connected");
    old?.retire();
  }

  // The host refused the token: once, a fresh one is tried at once.
  #again(token, connection) {
    this.#refused = token;
    this.#dialling = null;
    connection.close();
    this.#dial();
  }

  #failed({ code, reason, error }, connection) {
    this.#dialling = null;
    connection?.close();
    const final = error ? !error.temporary : stops(code);
    // While the old socket still serves, its own close decides.
    if (this.#current) this.#retry({ code, reason, error });
    else if (final) this.#halt("stopped", { code, reason, error });
    else this.#retry({ code, reason, error });
  }

  #lost({ code, reason }) {
    this.#current = null;
    if (Date.now() - this.#connectedAt >= GOOD_SESSION_MS) this.#backoff.reset();
    this.#options.onLost();
    if (stops(code)) this.#halt("stopped", { code, reason });
    else if (this.#dialling) this.#set("connecting");
    else this.#retry({ code, reason });
  }

  #retry(detail) {
    const delay = Math.max(this.#backoff.next(), detail.error?.retryAfterMs ?? 0);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#dial(), delay);
    if (!this.#current) this.#set("waiting", { ...detail, retryAt: Date.now() + delay });
  }

  #push(connection, name, value) {
    if (name === "reconnect") {
      if (connection !== this.#current) return;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#dial(value.url ?? this.#options.url), value.after_ms);
      return;
    }
    // During a hand-over both sockets speak; what comes twice is known by its number. The cursor is the new one's.
    if (name === "cursor" && connection !== this.#current) return;
    this.#options.onPush(name, value);
  }

  #halt(state, detail) {
    clearTimeout(this.#timer);
    const open = [this.#current, this.#dialling?.connection];
    const lost = this.#current !== null;
    this.#running = false;
    this.#current = this.#dialling = null;
    for (const connection of open) connection?.close();
    if (lost) this.#options.onLost();
    this.#set(state, detail);
  }
}

// 3500-3999 ask not to come back unchanged; 4000-4999 are a plugin's decision, which coming back would ignore.
function stops(code) {
  return code >= 3500 && code <= 4999;
}
