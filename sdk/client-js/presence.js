// Who is here, and who is writing: whom this client watches, kept over reconnecting, and what was told of them. It says
// that this person is writing no more often than others need to hear it.

// For how long someone counts as writing who does not say so again.
const TYPING_MS = 6_000;
// How often it is said while someone goes on writing.
const SAY_AGAIN_MS = 3_000;

/** What is known of people just now. */
export class Presence {
  #watched = [];
  #typists = new Map();
  #said = new Map();
  #call;
  #tell;
  #onPresence;
  #onTyping;

  /** What was told of those who are watched, by id: `{user, online, last_seen?}`. */
  known = new Map();

  /**
   * @param {object} options
   * @param {(name: string, payload: object, done: (error: any, ok?: any) => void) => void} options.call
   * @param {(name: string, payload: object) => void} options.tell
   * @param {(presence: {user: string, online: boolean, last_seen?: number}) => void} options.onPresence
   * @param {(conversation: string) => void} options.onTyping
   */
  constructor({ call, tell, onPresence, onTyping }) {
    this.#call = call;
    this.#tell = tell;
    this.#onPresence = onPresence;
    this.#onTyping = onTyping;
  }

  /** Watches these people and nobody else from now on. */
  watch(users, connected) {
    this.#watched = [...new Set(users)];
    for (const id of this.known.keys()) if (!this.#watched.includes(id)) this.known.delete(id);
    if (connected) this.#ask();
  }

  /** There is a session, which watches nobody yet. */
  online() {
    if (this.#watched.length > 0) this.#ask();
  }

  /** There is none: who is here is not known any more. */
  offline() {
    this.#said.clear();
    for (const { timer } of [...this.#typists.values()].flatMap((people) => [...people.values()])) clearTimeout(timer);
    const conversations = [...this.#typists.keys()];
    this.#typists.clear();
    for (const conversation of conversations) this.#onTyping(conversation);
    for (const [id, { online }] of this.known) if (online) this.take({ user: id, online: false });
  }

  #ask() {
    const users = this.#watched;
    this.#call("watch", { users }, (error, ok) => {
      // The next session asks again; where others are watched by now, these are asked for already.
      if (error || users !== this.#watched) return;
      for (const presence of ok.presence) this.take(presence);
    });
  }

  /** Takes in what was told of someone. */
  take(presence) {
    if (!this.#watched.includes(presence.user)) return;
    const { online, last_seen } = this.known.get(presence.user) ?? {};
    this.known.set(presence.user, presence);
    if (online !== presence.online || last_seen !== presence.last_seen) this.#onPresence(presence);
  }

  /** This person is writing: call it as often as keys are hit. */
  typing(conversation, now = Date.now()) {
    if (now - (this.#said.get(conversation) ?? -Infinity) < SAY_AGAIN_MS) return;
    this.#said.set(conversation, now);
    this.#tell("typing", { conversation });
  }

  /** This person has sent what they wrote: what they write next is news again. */
  sent(conversation) {
    this.#said.delete(conversation);
  }

  /** Someone is writing. */
  heard({ conversation, user }) {
    const people = this.#typists.get(conversation) ?? new Map();
    this.#typists.set(conversation, people);
    clearTimeout(people.get(user)?.timer);
    const isNew = !people.has(user);
    people.set(user, { timer: setTimeout(() => this.stopped(conversation, user), TYPING_MS) });
    if (isNew) this.#onTyping(conversation);
  }

  /** They no longer are: a while went by, or what they wrote has come. */
  stopped(conversation, user) {
    const people = this.#typists.get(conversation);
    if (!people?.has(user)) return;
    clearTimeout(people.get(user).timer);
    people.delete(user);
    if (people.size === 0) this.#typists.delete(conversation);
    this.#onTyping(conversation);
  }

  /** Who is writing there, by id. */
  typists(conversation) {
    return [...(this.#typists.get(conversation)?.keys() ?? [])];
  }
}
