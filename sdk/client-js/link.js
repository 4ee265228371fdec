// Keeps one connected session to the host alive: tokens, dialling again with backoff, what the close codes ask for, and
// handing over to a new socket when the host drains. What is said over it is not its business: start at `client.js`.

import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { connectionLost } from "./errors.js";

// A session that lasted this long was a good one: the next attempt begins with short delays again.
const GOOD_SESSION_MS = 10_000;
// A host that was away for a moment looks like a network without sockets: the first look whether it is one comes soon.
const UPGRADE_BASE_MS = 10_000;

/** The way to the host. */
export class Link {
  #options;
  #backoff;
  #upgrades;
  #current = null;
  #connectedAt = 0;
  #dialling = null;
  #timer;
  #upgradeTimer;
  #running = false;
  #refused = null;

  /** What the host last said of itself. */
  hello = null;
  /** `idle`, `connecting`, `connected`, `waiting` (for the next attempt) or `stopped` (for good, by the host). */
  state = "idle";

  /**
   * @param {object} options
   * @param {import("./transport.js").Transports} options.transports
   * @param {{token: (refused: string | null) => Promise<string>}} options.auth
   * @param {number} options.timeoutMs
   * @param {number} options.upgradeMs After how long, at most, a session that does without a socket tries one again.
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
    this.#upgrades = new Backoff({ baseMs: UPGRADE_BASE_MS, maxMs: options.upgradeMs });
  }

  /** The way of the session: `websocket`, `sse` or `poll`; `null` while there is none. */
  get transport() {
    return this.#current?.transport ?? null;
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

  /** Says what has no answer, if there is a session. */
  tell(name, payload) {
    this.#current?.tell(name, payload);
  }

  #set(state, detail = {}) {
    this.state = state;
    this.#options.onState({ state, ...detail });
  }

  async #dial({ url, isUpgrade = false } = {}) {
    clearTimeout(this.#timer);
    if (!this.#running || this.#dialling) return;
    clearTimeout(this.#upgradeTimer);
    const way = isUpgrade ? "websocket" : this.#options.transports.next;
    const attempt = (this.#dialling = { way, isUpgrade, connection: null });
    if (!this.#current) this.#set("connecting");
    let token;
    try {
      token = await this.#options.auth.token(this.#refused);
    } catch (error) {
      if (attempt === this.#dialling) this.#failed({ error });
      return;
    }
    if (attempt !== this.#dialling) return;
    const connection = new Connection(this.#options.transports.open(way, url), {
      timeoutMs: this.#options.timeoutMs,
      onOpen: () => connection.call("connect", { token, ...this.#options.introduce() }, (error, ok) => {
        if (attempt !== this.#dialling || error?.code === "connection_lost") return;
        this.#options.transports.report(way, true);
        if (!error) this.#connected(connection, ok);
        else if (error.code === "unauthorised" && token !== this.#refused) this.#again(token, connection);
        else this.#failed({ error }, connection);
      }),
      onPush: (name, value) => this.#push(connection, name, value),
      onClose: (closed) => {
        if (attempt === this.#dialling) this.#failed(closed, connection);
        else if (connection === this.#current) this.#lost(closed);
      },
    });
    attempt.connection = connection;
  }

  #connected(connection, ok) {
    const old = this.#current;
    const { way } = this.#dialling;
    this.#current = connection;
    this.#dialling = null;
    this.#refused = null;
    this.#connectedAt = Date.now();
    this.hello = connection.hello;
    this.#options.onConnected(ok);
    this.#set("connected");
    old?.retire();
    if (this.#options.transports.isFallback(way)) this.#upgradeLater();
    else this.#upgrades.reset();
  }

  // What kept sockets back may be gone: the session moves over without a pause, or stays where it is.
  #upgradeLater() {
    clearTimeout(this.#upgradeTimer);
    this.#upgradeTimer = setTimeout(() => this.#dial({ isUpgrade: true }), this.#upgrades.next());
  }

  // The host refused the token: once, a fresh one is tried at once.
  #again(token, connection) {
    this.#refused = token;
    this.#dialling = null;
    connection.close();
    this.#dial();
  }

  #failed({ code, reason, error }, connection) {
    const { way, isUpgrade } = this.#dialling;
    this.#dialling = null;
    connection?.close();
    if (connection && !error) this.#options.transports.report(way, connection.hello !== null);
    const final = error ? !error.temporary : stops(code);
    // While the old socket still serves, its own close decides.
    if (this.#current && isUpgrade) this.#upgradeLater();
    else if (this.#current) this.#retry({ code, reason, error });
    else if (final) this.#halt("stopped", { code, reason, error });
    else this.#retry({ code, reason, error });
  }

  #lost({ code, reason }) {
    this.#current = null;
    clearTimeout(this.#upgradeTimer);
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
      this.#timer = setTimeout(() => this.#dial({ url: value.url ?? undefined }), value.after_ms);
      return;
    }
    // During a hand-over both sockets speak; what comes twice is known by its number. The cursor is the new one's.
    if (name === "cursor" && connection !== this.#current) return;
    this.#options.onPush(name, value);
  }

  #halt(state, detail) {
    clearTimeout(this.#timer);
    clearTimeout(this.#upgradeTimer);
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
