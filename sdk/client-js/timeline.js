// What is known of one conversation's messages: a stretch without a hole, and what came ahead of it.
// Numbers are dense, so it can tell what is missing; asking for it is client.js's part.

/** The messages of one conversation, as far as they are here. */
export class Timeline {
  #ahead = new Map();

  /**
   * @param {number} seq The number after which it begins.
   * @param {number} keep How many messages it holds at most; past it the oldest go and can be had again.
   * @param {number} rev The last revision that its messages show.
   */
  constructor(seq, keep, rev = 0) {
    /** Everything with a number in `(low, high]` is in `messages`, or nobody can read it any more. */
    this.low = seq;
    this.high = seq;
    this.messages = [];
    this.keep = keep;
    this.rev = rev;
  }

  /** Whether nothing older exists. */
  get complete() {
    return this.low === 0;
  }

  /** Whether something is missing below what has come. */
  get gap() {
    return this.#ahead.size > 0;
  }

  /** The highest number that has come. */
  get newest() {
    return Math.max(this.high, ...this.#ahead.keys());
  }

  /** All messages that are here in order, those beyond a gap included. */
  get all() {
    if (!this.gap) return this.messages;
    return [...this.messages, ...[...this.#ahead.values()].sort((a, b) => a.seq - b.seq)];
  }

  /**
   * Takes in one message.
   * @returns {object[]} The messages that joined the stretch, in order: none if it was known or is ahead.
   */
  add(message) {
    if (message.seq > this.high) this.#ahead.set(message.seq, message);
    return this.#join();
  }

  /**
   * Takes in a newer version of a message that is here.
   * @returns {boolean} Whether it says something else than the one before.
   */
  amend(message) {
    const index = this.messages.findLastIndex(({ seq }) => seq === message.seq);
    if (index < 0 || this.messages[index].body === message.body) return false;
    this.messages[index] = message;
    return true;
  }

  /**
   * Changes a message that is here.
   * @param {(message: object) => object | null} change The message as it is then; `null` where it stays.
   * @returns {boolean} Whether it is another now.
   */
  replace(seq, change) {
    const index = this.messages.findLastIndex((message) => message.seq === seq);
    const known = index < 0 ? this.#ahead.get(seq) : this.messages[index];
    const changed = known && change(known);
    if (!changed) return false;
    if (index < 0) this.#ahead.set(seq, changed);
    else this.messages[index] = changed;
    return true;
  }

  /** Takes messages out that this person deleted for themselves; whether one was here. */
  hide(seqs) {
    const before = this.messages.length;
    this.messages = this.messages.filter(({ seq }) => !seqs.includes(seq));
    return this.messages.length < before;
  }

  /**
   * Takes in an answer to `history {after_seq: this.high}`.
   * @returns {object[]} The messages that joined the stretch, in order.
   */
  addNewer({ messages, gone }) {
    const end = Math.max(this.high, ...messages.map(({ seq }) => seq), ...gone.map(({ to }) => to));
    const joined = messages.filter(({ seq }) => seq > this.high);
    for (const seq of this.#ahead.keys()) if (seq <= end) this.#ahead.delete(seq);
    this.messages.push(...joined);
    this.high = end;
    return [...joined, ...this.#join()];
  }

  /** Takes in an answer to `history {before_seq: this.low + 1}`. */
  addOlder({ messages, gone, more }) {
    const older = messages.filter(({ seq }) => seq <= this.low);
    const start = Math.min(this.low + 1, ...messages.map(({ seq }) => seq), ...gone.map(({ from }) => from));
    this.messages.unshift(...older);
    this.low = more ? start - 1 : 0;
  }

  #join() {
    const joined = [];
    while (this.#ahead.has(this.high + 1)) {
      this.high += 1;
      joined.push(this.#ahead.get(this.high));
      this.#ahead.delete(this.high);
    }
    this.messages.push(...joined);
    this.#trim();
    return joined;
  }

  #trim() {
    const excess = this.messages.length - this.keep;
    if (excess <= 0) return;
    this.low = this.messages[excess - 1].seq;
    this.messages.splice(0, excess);
  }
}
