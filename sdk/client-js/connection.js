// One socket, or what has its shape, from opening to closing: requests with ids, answers and pushes, frames. It knows
// nothing of reconnecting (that is link.js) nor of what requests and pushes mean (that is client.js).

import { RequestError, connectionLost } from "./errors.js";

const OBJECTS_PER_FRAME_MAX = 1_000;
// Requests that wait for a place in flight. Past it a request fails as `busy`, at once, and may be made again.
const QUEUE_MAX = 4_096;

/** A socket to the host. */
export class Connection {
  #socket;
  #nextId = 1;
  #inFlight = new Map();
  #queue = [];
  #flushing = false;
  #retired = false;
  #closed = false;
  #timeoutMs;
  #timer;
  #onPush;
  #onClose;

  /** What the host said of itself and its limits, once it did. */
  hello = null;
  /** When something came in last, in milliseconds since the Unix epoch. */
  heardAt = 0;

  /**
   * @param {WebSocket} socket One that was just made.
   * @param {object} options
   * @param {number} options.timeoutMs Silence, while an answer is due, after which the socket counts as dead.
   * @param {() => void} options.onOpen
   * @param {(name: string, value: any) => void} options.onPush
   * @param {(closed: {code: number, reason: string}) => void} options.onClose Called once, last of all.
   */
  constructor(socket, { timeoutMs, onOpen, onPush, onClose }) {
    this.#timeoutMs = timeoutMs;
    this.#onPush = onPush;
    this.#onClose = onClose;
    this.#socket = socket;
    this.#socket.onopen = () => {
      if (!this.#closed) onOpen();
    };
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = ({ code, reason }) => this.#lose({ code, reason });
    // A close event always follows; without a handler Node would throw.
    this.#socket.onerror = () => {};
    this.#watch();
  }

  /** The way that it takes: `websocket`, `sse` or `poll`. */
  get transport() {
    return this.#socket.transport ?? "websocket";
  }

  /**
   * Makes a request. `done` is called within the handling of the frame that brings the answer: before what comes after
   * it in the same frame, which a promise could not do.
   * @param {string} name
   * @param {object} payload
   * @param {(error: RequestError | null, ok?: any) => void} done
   */
  call(name, payload, done) {
    if (this.#closed || this.#retired) return done(connectionLost());
    if (this.#queue.length >= QUEUE_MAX) {
      const message = `${QUEUE_MAX} requests are waiting already`;
      return done(new RequestError({ code: "busy", message, temporary: true }));
    }
    this.#queue.push({ name, payload, done });
    this.#flushSoon();
  }

  /** Says what has no answer. Where it cannot be said now it never is. */
  tell(name, payload) {
    if (this.#closed || this.#retired || this.hello === null) return;
    this.#socket.send(JSON.stringify({ [name]: payload }));
  }

  /** Closes the socket once the answers that are due have come; takes no new requests. */
  retire() {
    this.#retired = true;
    if (this.#inFlight.size + this.#queue.length === 0) this.close();
  }

  /** Closes the socket now. Requests without an answer fail as `connection_lost`. */
  close() {
    this.#socket.close(1000);
    // The other side may be gone without a word: do not wait for its goodbye.
    this.#lose({ code: 1000, reason: "" });
  }

  // What is asked for within one turn of the event loop leaves in as few frames as the host's limits allow.
  #flushSoon() {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush() {
    // Before `hello` nothing but `connect` is sent.
    const inFlightMax = this.hello?.max_in_flight ?? 1;
    const bytesMax = this.hello?.max_frame_bytes ?? Infinity;
    let lines = [];
    let bytes = 0;
    const send = () => {
      if (lines.length > 0) this.#socket.send(lines.join("\n"));
      lines = [];
      bytes = 0;
    };
    while (!this.#closed && this.#queue.length > 0 && this.#inFlight.size < inFlightMax) {
      const { name, payload, done } = this.#queue.shift();
      const id = this.#nextId++;
      const line = JSON.stringify({ id, [name]: payload });
      const size = new TextEncoder().encode(line).length + 1;
      if (size > bytesMax) {
        const message = `the request has ${size} bytes, at most ${bytesMax} are allowed`;
        done(new RequestError({ code: "too_large", message }));
        continue;
      }
      if (bytes + size > bytesMax || lines.length === OBJECTS_PER_FRAME_MAX) send();
      this.#inFlight.set(id, done);
      lines.push(line);
      bytes += size;
    }
    send();
    if (this.#inFlight.size > 0) this.#watch();
  }

  #receive(frame) {
    this.heardAt = Date.now();
    for (const line of frame.split("\n")) {
      if (this.#closed) return;
      if (line.trim() !== "") this.#handle(JSON.parse(line));
    }
    // Afterwards: what it has brought is not owed any more.
    this.#watch();
    if (this.#queue.length > 0) this.#flushSoon();
    if (this.#retired && this.#inFlight.size + this.#queue.length === 0) this.close();
  }

  #handle(object) {
    if (!("id" in object)) {
      const [[name, value]] = Object.entries(object);
      if (name === "hello") this.hello = value;
      else this.#onPush(name, value);
      return;
    }
    const done = this.#inFlight.get(object.id);
    this.#inFlight.delete(object.id);
    if (object.error) done?.(new RequestError(object.error));
    else done?.(null, object.ok);
  }

  // One timer for all requests: a host that says anything is alive, one that says nothing while it owes is not.
  #watch() {
    clearTimeout(this.#timer);
    if (this.#closed || (this.#socket.readyState === 1 && this.#inFlight.size === 0)) return;
    this.#timer = setTimeout(() => this.close(), this.#timeoutMs);
  }

  #lose(closed) {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    const waiting = [...this.#inFlight.values(), ...this.#queue.map(({ done }) => done)];
    this.#inFlight.clear();
    this.#queue = [];
    for (const done of waiting) done(connectionLost());
    this.#onClose(closed);
  }
}
