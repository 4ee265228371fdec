// What a request can fail with. One class, for refusals of the host and for what goes wrong on the way alike.
// Codes of the host are those of the protocol's section 12; the library adds `connection_lost`, `busy` and `stopped`.

/** Why a request failed. */
export class RequestError extends Error {
  /** @param {import("./index.d.ts").ErrorBody} error As the host words it. */
  constructor({ code, message, temporary, retry_after_ms, field }) {
    super(message || code);
    this.name = "RequestError";
    this.code = code;
    this.temporary = Boolean(temporary);
    this.retryAfterMs = retry_after_ms ?? 0;
    this.field = field ?? null;
  }
}

/** The socket went before the answer came: whether the request took effect is not known. */
export function connectionLost() {
  return new RequestError({ code: "connection_lost", message: "the connection was lost before the answer", temporary: true });
}
