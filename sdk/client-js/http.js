// A session without a socket, in the shape of a `WebSocket`: requests leave by POST, and what the host pushes comes as
// server-sent events, or by long poll where something on the way keeps streams back. `EventSource` would not do: it sends
// no token. It knows HTTP and the numbers of pushes; what requests and pushes mean is not its business.

// Browsers open six connections to a host; one is for pushes, and one is left for others.
const POSTS_MAX = 4;
const POLL_WAIT_MS = 25_000;
// The host writes to a stream every 15 s.
const SILENCE_MS = 40_000;
// A stream says something at once: one that does not is being kept back.
const FIRST_BYTE_MS = 5_000;
const LISTEN_FAILURES_MAX = 3;
const LISTEN_AGAIN_MS = 500;
const BROKEN = 1006;
const UNAUTHORISED = 3500;

/** A session over plain HTTP. */
export class HttpSocket {
  #server;
  #fetch;
  #token;
  #streams;
  #timeoutMs;
  #session = null;
  #after = 0;
  #queue = [];
  #posting = 0;
  #requests = new Set();

  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  /** As a `WebSocket` numbers its states. */
  readyState = 0;

  /**
   * @param {string} server
   * @param {object} options
   * @param {typeof fetch} options.fetch
   * @param {(refused: string | null) => Promise<string>} options.token A token of the login that connects.
   * @param {number} options.timeoutMs How long an answer may take.
   * @param {boolean} options.streams Whether to try server-sent events before long poll.
   */
  constructor(server, { fetch, token, timeoutMs, streams }) {
    this.#server = server;
    this.#fetch = fetch;
    this.#token = token;
    this.#timeoutMs = timeoutMs;
    this.#streams = streams;
    queueMicrotask(() => {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.onopen?.();
    });
  }

  /** How pushes come: `sse` or `poll`. */
  get transport() {
    return this.#streams ? "sse" : "poll";
  }

  /** Sends the requests of these lines; the first of all is `connect`. */
  send(lines) {
    this.#queue.push(...lines.split("\n"));
    this.#pump();
  }

  /** Ends it here. The host notices when nothing more comes. */
  close(code = 1000) {
    this.#end(code, "");
  }

  #pump() {
    while (this.readyState === 1 && this.#queue.length > 0 && this.#posting < (this.#session ? POSTS_MAX : 1)) {
      this.#post(this.#queue.shift());
    }
  }

  async #post(body) {
    this.#posting += 1;
    try {
      const text = await this.#ask("/v1/rpc", { method: "POST", body, patienceMs: this.#timeoutMs }, (response) => response.text());
      // What has no answer, like `typing`, is answered with nothing.
      if (text) this.#answered(text);
    } catch (error) {
      this.#broken(error);
    }
    this.#posting -= 1;
    this.#pump();
  }

  #answered(text) {
    const { ok } = this.#session ? {} : JSON.parse(text);
    if (!ok) return this.#deliver(text);
    this.#session = ok.session;
    // A socket would have been greeted first.
    this.#deliver(`${JSON.stringify({ hello: ok.hello })}\n${text}`);
    this.#listen();
  }

  async #listen() {
    for (let failures = 0; this.readyState === 1; ) {
      try {
        await (this.#streams ? this.#stream() : this.#poll());
        failures = 0;
      } catch (error) {
        failures += 1;
        if (failures === LISTEN_FAILURES_MAX || error instanceof Ended) return this.#broken(error);
        await new Promise((resolve) => setTimeout(resolve, LISTEN_AGAIN_MS * failures));
      }
    }
  }

  async #poll() {
    const path = `/v1/events?after=${this.#after}&wait_ms=${POLL_WAIT_MS}`;
    const patienceMs = POLL_WAIT_MS + this.#timeoutMs;
    const { events } = await this.#ask(path, { patienceMs }, (response) => response.json());
    for (const { n, push } of events) this.#pushed(n, JSON.stringify(push));
  }

  async #stream() {
    const headers = { accept: "text/event-stream", "last-event-id": `${this.#after}` };
    const patienceMs = Math.min(FIRST_BYTE_MS, this.#timeoutMs);
    let heard = false;
    try {
      await this.#ask("/v1/events", { headers, patienceMs }, async (response, alive) => {
        if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return;
        const decoder = new TextDecoder();
        let text = "";
        for (const reader = response.body.getReader(); ; ) {
          const { value, done } = await reader.read();
          if (done) return;
          heard = true;
          alive(SILENCE_MS);
          const events = (text + decoder.decode(value, { stream: true })).split("\n\n");
          text = events.pop();
          for (const event of events) this.#event(event);
        }
      });
    } catch (error) {
      if (heard || error instanceof Ended) throw error;
    }
    // Nothing came of it: the session goes on by asking.
    if (!heard) this.#streams = false;
  }

  #event(text) {
    const fields = Object.fromEntries(text.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
    if (fields.event === "close") throw new Ended(JSON.parse(fields.data));
    if (fields.data) this.#pushed(Number(fields.id), fields.data);
  }

  // What was not acknowledged comes again.
  #pushed(n, push) {
    if (n <= this.#after) return;
    this.#after = n;
    this.#deliver(push);
  }

  #deliver(data) {
    if (this.readyState === 1) this.onmessage?.({ data });
  }

  // Makes a request and reads its answer by `read`, which may grant itself more time. A token that the host refuses is
  // replaced once.
  async #ask(path, { headers, patienceMs, ...init }, read) {
    const abort = new AbortController();
    this.#requests.add(abort);
    let timer;
    const alive = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(new Error("no answer came in time")), ms);
    };
    try {
      for (let refused = null; ; ) {
        const token = this.#session && (await this.#token(refused));
        const session = this.#session && { authorization: `Bearer ${token}`, "godwit-session": this.#session };
        alive(patienceMs);
        const response = await this.#fetch(this.#server + path, {
          ...init,
          headers: { ...headers, ...session },
          cache: "no-store",
          signal: abort.signal,
        });
        if (response.ok) return await read(response, alive);
        if (response.status === 401 && session && refused === null) refused = token;
        else throw new Ended(await response.json().catch(() => ({})), response.status);
      }
    } finally {
      clearTimeout(timer);
      this.#requests.delete(abort);
    }
  }

  #broken(error) {
    if (error instanceof Ended) return this.#end(error.code, error.message);
    this.#end(error.code === "unauthorised" ? UNAUTHORISED : BROKEN, error.message);
  }

  #end(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#queue = [];
    for (const request of this.#requests) request.abort();
    this.onclose?.({ code, reason });
  }
}

// The host, or something on the way, has refused to go on.
class Ended extends Error {
  constructor({ close, error }, status) {
    super(error?.message ?? `the answer has the status ${status}`);
    this.code = close ?? (status === 401 ? UNAUTHORISED : BROKEN);
  }
}
