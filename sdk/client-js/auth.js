// A login: its tokens, how they are had, kept, renewed and given up. It knows HTTP and nothing of sockets.
// Start at `Auth.token`: that is what a `Client` asks before it connects.

import { RequestError } from "./errors.js";
import { memoryStorage } from "./storage.js";

const KEY = "login";
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The login of one person, kept in a storage. */
export class Auth {
  #server;
  #storage;
  #fetch;
  #now;
  #timer;
  #refreshing = null;

  /** @param {import("./index.d.ts").AuthOptions} options */
  constructor({ server, storage = memoryStorage(), fetch = globalThis.fetch.bind(globalThis), now = Date.now }) {
    this.#server = server.replace(/\/$/, "");
    this.#storage = storage;
    this.#fetch = fetch;
    this.#now = now;
    this.#schedule();
  }

  /** Who is logged in, or `null`. */
  get user() {
    return this.#login?.user ?? null;
  }

  /** Makes an account and logs in. */
  async register({ name, password, displayName }) {
    return this.#begin("register", { name, password, display_name: displayName || undefined });
  }

  /** Logs in. */
  async login({ name, password }) {
    return this.#begin("login", { name, password });
  }

  /**
   * An access token that is good now, renewed if it is about to expire.
   * @param {string | null} refused A token that the host refused: it is not given out again.
   * @returns {Promise<string>} Fails with `unauthorised` where there is no login any more.
   */
  async token(refused = null) {
    const login = this.#login;
    if (login && login.access_token !== refused && this.#now() < login.refresh_at) return login.access_token;
    return (await this.refresh(login?.access_token)).access_token;
  }

  /**
   * Renews the tokens. Calls at the same time share one request, in other tabs over the same storage too: a refresh
   * token works once, and using it twice ends the login.
   * @param {string | undefined} stale The access token to replace; where the kept one is another, that one is returned.
   */
  refresh(stale = this.#login?.access_token) {
    this.#refreshing ??= exclusively(`godwit-refresh ${this.#server}`, () => this.#refresh(stale)).finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** Ends the login on the host and forgets it here, even where the host cannot be reached. */
  async logout() {
    const login = this.#login;
    this.#forget();
    if (!login) return;
    const headers = { authorization: `Bearer ${login.access_token}` };
    await this.#post("logout", undefined, headers).catch((error) => {
      if (error.code !== "unauthorised") throw error;
    });
  }

  /** Forgets the timer that renews; the login stays kept. */
  close() {
    clearTimeout(this.#timer);
  }

  get #login() {
    return JSON.parse(this.#storage.get(KEY) ?? "null");
  }

  async #begin(path, body) {
    return this.#keep(await this.#post(path, body)).user;
  }

  async #refresh(stale) {
    const login = this.#login;
    if (!login) throw new RequestError({ code: "unauthorised", message: "not logged in" });
    if (login.access_token !== stale) return login;
    try {
      return this.#keep(await this.#post("refresh", { refresh_token: login.refresh_token }));
    } catch (error) {
      if (error.code === "unauthorised") this.#forget();
      throw error;
    }
  }

  #keep({ user, access_token, refresh_token, expires_at }) {
    const now = this.#now();
    // Four fifths of its life are used. A clock that is wrong by more than that must not make it renew all the time.
    const refresh_at = Math.max(now + (expires_at - now) * 0.8, now + 10_000);
    const login = { user, access_token, refresh_token, expires_at, refresh_at };
    this.#storage.set(KEY, JSON.stringify(login));
    this.#schedule();
    return login;
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#storage.remove(KEY);
  }

  // Renews before expiry even while no one asks for a token: a login that is never renewed ends, and its sockets with it.
  #schedule() {
    clearTimeout(this.#timer);
    const login = this.#login;
    if (!login) return;
    const delay = Math.min(Math.max(login.refresh_at - this.#now(), 0), TIMER_MS_MAX);
    this.#timer = setTimeout(() => {
      this.token().then(
        () => this.#schedule(),
        (error) => {
          if (error.code === "unauthorised") return;
          this.#timer = setTimeout(() => this.#schedule(), 30_000);
          this.#timer.unref?.();
        },
      );
    }, delay);
    // In Node a timer must not keep the process; in browsers there is no such thing.
    this.#timer.unref?.();
  }

  async #post(path, body, headers = {}) {
    const response = await this.#fetch(`${this.#server}/v1/auth/${path}`, {
      method: "POST",
      headers: body ? { ...headers, "content-type": "application/json" } : headers,
      body: body && JSON.stringify(body),
    }).catch((cause) => {
      const message = `the server cannot be reached: ${cause.message}`;
      throw new RequestError({ code: "connection_lost", message, temporary: true });
    });
    if (response.status === 204) return null;
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    const seconds = Number(response.headers.get("retry-after")) || 0;
    throw new RequestError({
      code: "internal",
      message: `the server answered with status ${response.status}`,
      temporary: response.status >= 500,
      retry_after_ms: seconds * 1_000,
      ...answer.error,
    });
  }
}

// One at a time over all tabs of an origin, where the platform can tell; else over this process alone.
function exclusively(name, work) {
  const locks = globalThis.navigator?.locks;
  return locks ? locks.request(name, work) : work();
}
