// The ways to the host, and which of them an attempt takes: a WebSocket where one gets through, else a session over plain
// HTTP. Each way is opened as something in the shape of a `WebSocket`, so that nobody else knows the difference.

import { HttpSocket } from "./http.js";

const SUBPROTOCOL = "godwit.v1.json";
// So many sockets in a row that end before the host has said a word: something on the way does not let them through.
const SOCKET_FAILURES_MAX = 2;

/** Opens connections, and learns which of them work here. */
export class Transports {
  #server;
  #options;
  #failures = 0;

  /**
   * @param {string} server
   * @param {object} options
   * @param {"auto" | "websocket" | "sse" | "poll"} options.transport
   * @param {typeof WebSocket} [options.WebSocket]
   * @param {typeof fetch} options.fetch
   * @param {(refused: string | null) => Promise<string>} options.token
   * @param {number} options.timeoutMs
   */
  constructor(server, options) {
    if (options.transport === "websocket" && !options.WebSocket) throw new TypeError("there is no `WebSocket` here: pass one");
    if (!["auto", "websocket", "sse", "poll"].includes(options.transport)) throw new TypeError(`\`transport\` is \`${options.transport}\`, but must be auto, websocket, sse or poll`);
    this.#server = server.replace(/\/$/, "");
    this.#options = options;
  }

  /** Which way the next attempt is to go. */
  get next() {
    const { transport, WebSocket } = this.#options;
    if (transport !== "auto") return transport;
    return WebSocket && this.#failures < SOCKET_FAILURES_MAX ? "websocket" : "sse";
  }

  /** Whether `way` only stands in for a better one. */
  isFallback(way) {
    return way !== "websocket" && this.#options.transport === "auto" && Boolean(this.#options.WebSocket);
  }

  /** What became of an attempt: whether the host was heard at all. */
  report(way, wasHeard) {
    if (way === "websocket") this.#failures = wasHeard ? 0 : this.#failures + 1;
    // The host may be away altogether: the socket gets its turn before the next request does.
    else if (!wasHeard) this.#failures = SOCKET_FAILURES_MAX - 1;
  }

  /** Opens a connection that way, to this host or to the one whose socket has the address `url`. */
  open(way, url = `${this.#server.replace(/^http/, "ws")}/v1/ws`) {
    const { WebSocket, fetch, token, timeoutMs } = this.#options;
    if (way === "websocket") return new WebSocket(url, SUBPROTOCOL);
    const server = url.replace(/^ws/, "http").replace(/\/v1\/ws$/, "");
    return new HttpSocket(server, { fetch, token, timeoutMs, streams: way === "sse" });
  }
}
