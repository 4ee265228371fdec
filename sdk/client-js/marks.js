// How far this client has come in each conversation, told to the host: only forward, one request at a time per
// conversation, so that whatever arrives while one is under way goes into the next together.

/** The marks `received` and `read` on their way out. */
export class Marks {
  #wanted = new Map();
  #busy = new Set();
  #call;
  #known;
  #onMarked;

  /**
   * @param {object} options
   * @param {(name: string, payload: object, done: (error: any, ok?: any) => void) => void} options.call
   * @param {(conversation: string) => {received_seq: number, read_seq: number} | undefined} options.known What the host has.
   * @param {(conversation: string, marks: {received_seq: number, read_seq: number}) => void} options.onMarked
   */
  constructor({ call, known, onMarked }) {
    this.#call = call;
    this.#known = known;
    this.#onMarked = onMarked;
  }

  /** Raises what the host shall know. */
  want(conversation, { received = 0, read = 0 }) {
    const wanted = this.#wanted.get(conversation) ?? { received: 0, read: 0 };
    wanted.received = Math.max(wanted.received, received, read);
    wanted.read = Math.max(wanted.read, read);
    this.#wanted.set(conversation, wanted);
    this.#flushSoon(conversation);
  }

  /** There is a session: tells what is not told yet. */
  online() {
    for (const conversation of this.#wanted.keys()) this.#flushSoon(conversation);
  }

  // After the frame that is being worked off, so that a batch of messages costs one mark.
  #flushSoon(conversation) {
    if (this.#busy.has(conversation)) return;
    this.#busy.add(conversation);
    queueMicrotask(() => this.#flush(conversation));
  }

  #flush(conversation) {
    const { received, read } = this.#wanted.get(conversation);
    // One that is no longer known has nothing to be told.
    const known = this.#known(conversation) ?? { received_seq: Infinity, read_seq: Infinity };
    const [name, seq] =
      read > known.read_seq ? ["read", read] : received > known.received_seq ? ["received", received] : [null, 0];
    if (!name) {
      this.#busy.delete(conversation);
      this.#wanted.delete(conversation);
      return;
    }
    this.#call(name, { conversation, seq }, (error, ok) => {
      this.#busy.delete(conversation);
      // What was not taken stays wanted: `online` or the next message brings it up again.
      if (error) return;
      this.#onMarked(conversation, ok);
      // Answered is done, even where the host cut it.
      const wanted = this.#wanted.get(conversation);
      for (const mark of ["received", "read"]) if (wanted[mark] <= seq && (mark === name || name === "read")) wanted[mark] = 0;
      this.#flushSoon(conversation);
    });
  }
}
