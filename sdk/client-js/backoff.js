// How long to wait before trying again: exponential, with full jitter, so that a host's restart is not met by all its
// clients in the same moment.

/** Counts failures and turns them into delays. */
export class Backoff {
  #failures = 0;

  /** @param {{baseMs?: number, maxMs?: number, random?: () => number}} options */
  constructor({ baseMs = 1_000, maxMs = 30_000, random = Math.random } = {}) {
    this.baseMs = baseMs;
    this.maxMs = maxMs;
    this.random = random;
  }

  /** The delay before the next attempt, in milliseconds; each call doubles its bound. */
  next() {
    const bound = Math.min(this.maxMs, this.baseMs * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    return Math.round(bound * (0.1 + 0.9 * this.random()));
  }

  /** Begins anew, after a success. */
  reset() {
    this.#failures = 0;
  }
}
