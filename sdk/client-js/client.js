// The chat as one person sees it: conversations, messages in order and without holes, marks, people. It puts together a
// link (the way to the host), an outbox, the marks and a timeline per conversation; it draws nothing.
// Start at `Client.start`, then `#connected` (a session begins) and `#push` (something happened).
// This file is long because everything that a person can do and everything that the host says meets here.

import { clientId } from "./id.js";
import { Backoff } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { RequestError } from "./errors.js";
import { Link } from "./link.js";
import { Marks } from "./marks.js";
import { Outbox } from "./outbox.js";
import { Presence } from "./presence.js";
import { revised, subject } from "./revisions.js";
import { memoryStorage } from "./storage.js";
import { Timeline } from "./timeline.js";
import { Transports } from "./transport.js";

const PAGE = 50;
// The protocol's bound of a page: what was missed is fetched in as few requests as may be.
const PAGE_MAX = 200;

/** A person's connection to the host. */
export class Client extends Emitter {
  #link;
  #outbox;
  #marks;
  #presence;
  #timelines = new Map();
  #receipts = new Map();
  #filling = new Set();
  #revising = new Set();
  #gapTimers = new Map();
  #following = new Set();
  #active = true;
  #loadingOlder = new Map();
  #wantedUsers = [];
  #askedUsers = new Set();
  #settling = new Map();
  #relatedAt = new Map();
  #unreviewed = new Map();
  #cursor = null;
  #syncing = false;
  #more = null;
  #keepMessages;
  #gapMs;

  /** Who this is; known once connected. */
  user = null;
  /** All conversations that are known, by id. */
  conversations = new Map();
  /** All people that were seen, by id. */
  users = new Map();
  /** How others stand to this person, by id: those who do not stand to them at all are not here. */
  contacts = new Map();

  /** @param {import("./index.d.ts").ClientOptions} options */
  constructor({
    server,
    auth,
    storage = memoryStorage(),
    device = {},
    WebSocket = globalThis.WebSocket,
    fetch = globalThis.fetch.bind(globalThis),
    transport = "auto",
    backoff = {},
    timeoutMs = 20_000,
    upgradeMs = 300_000,
    gapMs = 1_000,
    keepMessages = 2_000,
  }) {
    super();
    this.#keepMessages = keepMessages;
    this.#gapMs = gapMs;
    const deviceId = storage.get("device") ?? clientId();
    storage.set("device", deviceId);
    this.#link = new Link({
      transports: new Transports(server, { transport, WebSocket, fetch, token: (refused) => auth.token(refused), timeoutMs }),
      auth,
      timeoutMs,
      upgradeMs,
      backoff: new Backoff(backoff),
      introduce: () => ({ device: { ...device, id: deviceId }, resume: this.#cursor ?? undefined, active: this.#active, window: PAGE }),
      onConnected: (ok) => this.#connected(ok),
      onLost: () => this.#lost(),
      onPush: (name, value) => this.#push(name, value),
      onState: (change) => this.emit("state", change),
    });
    this.#outbox = new Outbox({
      storage,
      backoff,
      call: (payload, done) => this.#link.call("send", payload, done),
      onChange: (entry) => this.emit("outbox", entry),
      onSent: (entry, ok) => this.#sent(entry, ok),
      onRefused: (entry, error) => this.#refused(entry, error),
    });
    this.#marks = new Marks({
      call: (name, payload, done) => this.#link.call(name, payload, done),
      known: (id) => this.conversations.get(id),
      onMarked: (id, marks) => this.#raise(id, marks),
    });
    this.#presence = new Presence({
      call: (name, payload, done) => this.#link.call(name, payload, done),
      tell: (name, payload) => this.#link.tell(name, payload),
      onPresence: (presence) => this.emit("presence", presence),
      onTyping: (id) => this.emit("typing", id),
    });
  }

  /** `idle`, `connecting`, `connected`, `waiting` or `stopped`; changes come as the event `state`. */
  get state() {
    return this.#link.state;
  }

  /** The way of the session: `websocket`, `sse` or `poll`; `null` while there is none. */
  get transport() {
    return this.#link.transport;
  }

  /** What the host said of itself and its limits, or `null` before the first connection. */
  get hello() {
    return this.#link.hello;
  }

  /** Messages that are not settled, in the order of writing. */
  get outbox() {
    return this.#outbox.entries;
  }

  /** The conversations, newest first. */
  get list() {
    return [...this.conversations.values()].sort((a, b) => b.updated_at - a.updated_at);
  }

  /** Whether there are older conversations than those known. */
  get hasMoreConversations() {
    return this.#more !== null;
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    this.#link.start();
  }

  /** Disconnects. What is in the outbox stays there. */
  stop() {
    this.#link.stop();
  }

  /** Call it when the network came back or someone looks: tries at once, and finds out if the socket is dead. */
  wake() {
    this.#link.wake();
  }

  /** Makes any request of the protocol. */
  request(name, payload = {}) {
    return new Promise((resolve, reject) => {
      this.#link.call(name, payload, (error, ok) => (error ? reject(error) : resolve(ok)));
    });
  }

  /** The conversation with one other person, made if it is missing. */
  async direct(user) {
    return this.#learn((await this.request("direct", { user })).conversation);
  }

  /** The conversation of that id, asked for if it is not known. */
  async conversation(id) {
    return this.conversations.get(id) ?? this.#learn((await this.request("conversation", { conversation: id })).conversation);
  }

  /** Makes a group. A repeat with the same `client_id` returns the same group. */
  async createGroup({ title, members, client_id = clientId() }) {
    const { conversation } = await this.request("create", { kind: "group", client_id, title, members });
    return this.#learn(conversation);
  }

  /** Makes a channel: its admins post, everyone else reads. A repeat with the same `client_id` returns the same. */
  async createChannel({ title, open = false, members = [], client_id = clientId() }) {
    const { conversation } = await this.request("create", { kind: "channel", client_id, title, open, members });
    return this.#learn(conversation);
  }

  /** A page of the conversations that anyone may join, by a part of their titles. */
  discover({ query, page } = {}) {
    return this.request("discover", { query, page });
  }

  /** Comes into an open conversation, or with `{ code }` by a link. */
  join(where) {
    const place = typeof where === "string" ? { conversation: where } : where;
    return this.request("join", { ...place, client_id: clientId() });
  }

  /** Changes a conversation: `title`, `avatar`, `open`, `history`, `posting`, `slow_mode_s`. `null` clears. */
  update(conversation, changes) {
    return this.request("update", { conversation, ...changes, client_id: clientId() });
  }

  /** Makes a link into a conversation; with `expires_in_s` it ends by itself. */
  async link(conversation, { expires_in_s } = {}) {
    return (await this.request("link", { conversation, expires_in_s })).link;
  }

  /** Brings people into a group. */
  async invite(conversation, users) {
    await this.request("invite", { conversation, users });
    return this.#learn((await this.request("conversation", { conversation })).conversation);
  }

  /** All members of a conversation. */
  async members(conversation) {
    const members = [];
    for (let page; ; ) {
      const answer = await this.request("members", { conversation, page, limit: PAGE_MAX });
      members.push(...answer.members);
      if (!(page = answer.next)) return members;
    }
  }

  /** The slash commands in a conversation, each with what it takes. */
  async commands(conversation) {
    return (await this.request("commands", { conversation })).commands;
  }

  /**
   * Gives a slash command; what it answers to you alone, or `null`. A repeat with the same `client_id` gets the same.
   */
  async command({ conversation, name, arguments: given = {}, client_id = clientId() }) {
    const { reply } = await this.request("command", { conversation, client_id, name, arguments: given });
    return reply ?? null;
  }

  /** The person of exactly that name, or `null`. */
  async findUser(name) {
    const { users } = await this.request("users", { query: name });
    this.#meet(users);
    return users.find((user) => user.name === name) ?? null;
  }

  /** Changes what others see of this person: what is absent stays, `null` clears. */
  async setProfile(change) {
    const { user } = await this.request("profile", change);
    this.user = user;
    this.#meet([user]);
    return user;
  }

  /** Watches these people, and nobody else from now on: the event `presence` tells of each. Kept over reconnecting. */
  watch(users) {
    this.#presence.watch(users, this.state === "connected");
  }

  /** What is known of someone who is watched: `{user, online, last_seen?}`, or `null`. */
  presence(user) {
    return this.#presence.known.get(user) ?? null;
  }

  /** Asks once who is here, without watching them. */
  async askPresence(users) {
    return (await this.request("presence", { users })).presence;
  }

  /** This person is writing there: call it as often as keys are hit. */
  typing(conversation) {
    this.#presence.typing(conversation);
  }

  /** Who else is writing there, by id; the event `typing` tells when that changes. */
  typists(conversation) {
    return this.#presence.typists(conversation);
  }

  /** Asks somebody to be a contact; where they asked first, both are. */
  requestContact(user) {
    return this.#relate(user, "request");
  }

  /** Agrees to a request. */
  acceptContact(user) {
    return this.#relate(user, "accept");
  }

  /** Refuses a request. */
  declineContact(user) {
    return this.#relate(user, "decline");
  }

  /** Ends a contact, or takes a request back. */
  removeContact(user) {
    return this.#relate(user, "remove");
  }

  /** Hears and sees nothing of somebody, and the other way round. */
  block(user) {
    return this.#relate(user, "block");
  }

  /** No longer. */
  unblock(user) {
    return this.#relate(user, "unblock");
  }

  async #relate(user, action) {
    // The other devices are told; this one has its answer.
    return this.#related((await this.request("contact", { user, action })).contact);
  }

  /** The person of that id if it is known; else asks for it, and the event `user` follows. */
  person(id) {
    const user = this.users.get(id);
    if (!user && !this.#askedUsers.has(id)) {
      this.#askedUsers.add(id);
      if (this.#wantedUsers.push(id) === 1) queueMicrotask(() => this.#askForUsers());
    }
    return user ?? null;
  }

  /** Older conversations than those known. */
  async moreConversations() {
    const before = this.conversations.size;
    // The list begins with what is known already: go on until something is new.
    while (this.#more && this.conversations.size === before) {
      const { conversations, next } = await this.request("conversations", { ...this.#more, limit: PAGE });
      this.#more = next ? { page: next } : null;
      for (const conversation of conversations) this.#learn(conversation);
    }
  }

  /**
   * Sends a message. It is kept before this returns, and sent until the answer is definite.
   * @param {object} message `conversation` (or `to`, a user), `body`, and what else the protocol's `send` takes.
   * @returns {Promise<object>} The message as accepted; fails with the refusal.
   */
  send(message) {
    this.#presence.sent(message.conversation);
    const seen_seq = this.#timelines.get(message.conversation)?.newest ?? 0;
    const entry = this.#outbox.add({ ...message, seen_seq });
    const settled = new Promise((resolve, reject) => this.#settling.set(entry.client_id, { resolve, reject }));
    // Who listens to events alone need not handle the promise as well.
    settled.catch(() => {});
    return settled;
  }

  /** Gives an own message another text. */
  edit(conversation, seq, body) {
    return this.request("edit", { conversation, seq, body, client_id: clientId() });
  }

  /** Deletes a message for everyone, or with `me` for this person alone. */
  async delete(conversation, seq, whom = "everyone") {
    const answer = await this.request("delete", { conversation, seq, for: whom, client_id: clientId() });
    // The other devices are told; this one has its answer.
    if (whom === "me") this.#hide(conversation, [seq]);
    return answer;
  }

  /** Reacts to a message, or no longer does. */
  react(conversation, seq, emoji, on = true) {
    return this.request("react", { conversation, seq, emoji, on, client_id: clientId() });
  }

  /**
   * Changes what this person set for themselves in a conversation: `muted_until`, `label`, `pinned`, `archived`. `null`
   * clears, what is left out stays.
   */
  async set(conversation, settings) {
    return this.#learn((await this.request("settings", { conversation, ...settings })).conversation);
  }

  /** Goes from a group. */
  leave(conversation) {
    return this.request("leave", { conversation, client_id: clientId() });
  }

  /** Forgets a refused message; `false` where it is none. */
  discard(id) {
    return this.#outbox.discard(id);
  }

  /** The messages of a conversation that are here, in order. Load more with `older`. */
  messages(conversation) {
    return this.#timelines.get(conversation)?.all ?? [];
  }

  /** Whether all of a conversation, back to its first message, is here. */
  isComplete(conversation) {
    return this.#timelines.get(conversation)?.complete ?? false;
  }

  /** Loads a page of older messages; the event `timeline` follows. Calls at the same time share one request. */
  older(conversation, limit = PAGE) {
    const timeline = this.#timelines.get(conversation);
    if (!timeline || timeline.complete) return Promise.resolve();
    if (!this.#loadingOlder.has(conversation)) {
      const payload = { conversation, before_seq: timeline.low + 1, limit };
      const loading = this.request("history", payload).then((page) => {
        timeline.addOlder(page);
        this.emit("timeline", conversation);
      });
      this.#loadingOlder.set(conversation, loading.finally(() => this.#loadingOlder.delete(conversation)));
    }
    return this.#loadingOlder.get(conversation);
  }

  /** This conversation is open in front of a person: its messages come live, however many are in. */
  follow(conversation) {
    this.#following.add(conversation);
    // A session that is yet to begin follows what there is then.
    if (this.state === "connected") this.#follow(conversation);
  }

  /** It no longer is. */
  unfollow(conversation) {
    if (this.#following.delete(conversation) && this.state === "connected") {
      this.#link.call("unfollow", { conversation }, () => {});
    }
  }

  #follow(id) {
    this.#link.call("follow", { conversation: id }, (error) => {
      // What was said before the answer came as heads, in a while; who looks at it wants it now.
      const many = this.conversations.get(id)?.member_count > this.hello.follow_above;
      if (!error && many && this.#following.has(id)) this.#ask(id);
    });
  }

  /** Whether a person is looking at all: drives notifications. */
  setActive(active) {
    if (active === this.#active) return;
    this.#active = active;
    if (this.state === "connected") this.#link.call("active", { active }, () => {});
  }

  /** A person has seen what is here of this conversation. */
  read(conversation) {
    const timeline = this.#timelines.get(conversation);
    if (timeline) this.#marks.want(conversation, { read: timeline.high });
  }

  /** What became of an own message that was accepted: `sent`, `delivered` or `read`, by all others. */
  status({ conversation: id, seq }) {
    const conversation = this.conversations.get(id);
    const marks = this.#othersMarks(conversation);
    if (marks.length === 0) return "sent";
    if (marks.every(({ read_seq }) => read_seq >= seq)) return "read";
    return marks.every(({ received_seq }) => received_seq >= seq) ? "delivered" : "sent";
  }

  #othersMarks(conversation) {
    if (conversation?.kind === "direct") {
      const { peer_received_seq: received_seq = 0, peer_read_seq: read_seq = 0, peer } = conversation;
      // Of notes to oneself there is no other side.
      return peer?.id === this.user?.id ? [] : [{ received_seq, read_seq }];
    }
    const marks = this.#receipts.get(conversation?.id);
    const others = (conversation?.members ?? []).filter((id) => id !== this.user?.id);
    return others.map((id) => marks?.get(id) ?? { received_seq: 0, read_seq: 0 });
  }

  #connected({ user, epoch, cursor, recovered, conversations, contacts = [], held, next }) {
    if (this.#cursor && this.#cursor.epoch !== epoch) this.#forget();
    this.user = user;
    this.#meet([user]);
    // A cold start has all of them.
    if (!recovered) this.contacts.clear();
    for (const contact of contacts) this.#related(contact);
    for (const conversation of conversations) this.#learn(conversation);
    if (!recovered) this.#refresh(conversations);
    if (next) this.#sync(next, { epoch, cursor });
    else this.#cursor = { epoch, cursor };
    for (const id of this.#timelines.keys()) this.#catchUp(id);
    this.#outbox.online(held);
    this.#marks.online();
    this.#presence.online();
    // A session begins without following anything.
    for (const id of this.#following) this.#follow(id);
    for (const id of [...this.#unreviewed.keys()]) this.#review(id);
  }

  // What else changed, page by page. A cursor counts when all that it covers has been read, not before.
  #sync(page, reached) {
    this.#syncing = true;
    this.#link.call("sync", { page }, (error, ok) => {
      this.#syncing = false;
      // The next session begins from the cursor before, and is told all of it again.
      if (error) return;
      for (const conversation of ok.conversations) this.#learn(conversation);
      for (const contact of ok.contacts ?? []) this.#related(contact);
      if (ok.next) this.#sync(ok.next, reached);
      else this.#cursor = reached;
    });
  }

  // What is known but was not among those told now may have gone on in the meantime: ask for it.
  #refresh(fresh) {
    const known = new Set(fresh.map(({ id }) => id));
    // A full window may be all there is: asking once tells.
    this.#more = fresh.length >= PAGE ? {} : null;
    for (const id of this.#timelines.keys()) {
      if (!known.has(id)) this.#ask(id);
    }
  }

  #lost() {
    this.#filling.clear();
    this.#revising.clear();
    for (const timer of this.#gapTimers.values()) clearTimeout(timer);
    this.#gapTimers.clear();
    this.#outbox.offline();
    this.#presence.offline();
  }

  #forget() {
    this.conversations.clear();
    this.contacts.clear();
    this.#timelines.clear();
    this.#receipts.clear();
    this.emit("reset");
  }

  #push(name, value) {
    if (name === "message") this.#received(value);
    else if (name === "conversation") this.#learn(value);
    else if (name === "contact") this.#related(value);
    else if (name === "receipt") this.#receipt(value);
    else if (name === "revision") this.#revision(value);
    else if (name === "verdict") this.#outbox.settle(value);
    else if (name === "heads") for (const head of value) this.#ask(head.conversation);
    else if (name === "hidden") this.#hide(value.conversation, [value.seq]);
    else if (name === "presence") this.#presence.take(value);
    else if (name === "typing") this.#presence.heard(value);
    else if (name === "user") this.#changed(value);
    else if (name === "cursor" && !this.#syncing) this.#cursor = { ...this.#cursor, ...value };
    // What a later version of the protocol pushes is its user's to read.
    this.emit(`push:${name}`, value);
  }

  #changed(user) {
    if (user.id === this.user?.id) this.user = user;
    this.#meet([user]);
    for (const conversation of this.conversations.values()) {
      if (conversation.peer?.id !== user.id) continue;
      conversation.peer = user;
      this.emit("conversation", conversation);
    }
  }

  #received(message) {
    this.#presence.stopped(message.conversation, message.sender);
    const conversation = this.conversations.get(message.conversation);
    // Its announcement went missing; what it brings holds the message.
    if (!conversation) return this.#ask(message.conversation);
    this.#news(message);
    this.#take(message);
  }

  // The conversation's head and last message follow what is said in it.
  #news(message) {
    const conversation = this.conversations.get(message.conversation);
    if (!conversation || message.seq <= conversation.last_seq) return;
    conversation.last_seq = message.seq;
    conversation.last_message = message;
    conversation.updated_at = message.sent_at;
    if (message.sender === this.user.id) {
      // Sending raises one's own marks, but only where they stood at the number before.
      for (const mark of ["read_seq", "received_seq"]) {
        if (conversation[mark] === message.seq - 1) conversation[mark] = message.seq;
      }
    }
    conversation.unread = conversation.last_seq - conversation.read_seq;
    this.emit("conversation", conversation);
  }

  #take(message) {
    const timeline = this.#timelines.get(message.conversation);
    if (message.seq <= timeline.high) return;
    this.#joined(message.conversation, timeline.add(message));
    if (timeline.gap) this.#expect(message.conversation);
  }

  #joined(id, messages) {
    for (const message of messages) this.emit("message", message);
    if (messages.length > 0) this.#marks.want(id, { received: this.#timelines.get(id).high });
    this.emit("timeline", id);
  }

  // An answer may overtake what was pushed before it, so a gap counts as one only after a while.
  #expect(id) {
    if (this.#gapTimers.has(id)) return;
    const look = () => {
      this.#gapTimers.delete(id);
      this.#catchUp(id);
    };
    this.#gapTimers.set(id, setTimeout(look, this.#gapMs));
  }

  // Fetches what is missing between what is here and the newest, page by page, forward: marks go along with it.
  #catchUp(id) {
    const timeline = this.#timelines.get(id);
    const head = Math.max(this.conversations.get(id)?.last_seq ?? 0, timeline?.newest ?? 0);
    if (!timeline || this.#filling.has(id) || timeline.high >= head) return;
    this.#filling.add(id);
    const payload = { conversation: id, after_seq: timeline.high, limit: PAGE_MAX };
    this.#link.call("history", payload, (error, page) => {
      this.#filling.delete(id);
      if (error?.temporary && error.code !== "connection_lost") this.#expect(id);
      if (error) return;
      const before = timeline.high;
      this.#joined(id, timeline.addNewer(page));
      if (timeline.high > before) this.#catchUp(id);
    });
  }

  #sent(entry, { conversation: id, seq, sent_at }) {
    const { client_id, body, kind = "text", reply_to, thread, mentions } = entry;
    const message = { conversation: id, seq, sender: this.user.id, client_id, sent_at, kind, body, reply_to, thread, mentions };
    if (this.conversations.has(id)) {
      this.#news(message);
      this.#take(message);
      this.#unreviewed.set(id, Math.min(seq, this.#unreviewed.get(id) ?? seq));
      if (!this.outbox.some(({ conversation, state }) => conversation === id && ["waiting", "sending"].includes(state))) this.#review(id);
    } else {
      this.#ask(id, seq - 1);
    }
    this.emit("sent", { entry, message });
    this.#settling.get(client_id)?.resolve(message);
    this.#settling.delete(client_id);
  }

  // A plugin may have rewritten what was sent, and the answer does not say so. Once per burst of own messages what became
  // of them is looked up, so that their sender sees what the others see.
  #review(id) {
    const first = this.#unreviewed.get(id);
    this.#unreviewed.delete(id);
    this.#link.call("history", { conversation: id, after_seq: first - 1, limit: PAGE_MAX }, (error, page) => {
      // Looked up again with the next burst or the next session.
      if (error) return void this.#unreviewed.set(id, first);
      const changed = page.messages.filter((message) => this.#timelines.get(id)?.amend(message));
      const conversation = this.conversations.get(id);
      for (const message of changed) {
        if (conversation?.last_message?.seq === message.seq) conversation.last_message = message;
      }
      if (changed.length === 0) return;
      this.emit("timeline", id);
      this.emit("conversation", conversation);
    });
  }

  #refused(entry, { code, message, field }) {
    this.emit("refused", entry);
    this.#settling.get(entry.client_id)?.reject(new RequestError({ code, message, field }));
    this.#settling.delete(entry.client_id);
  }

  #receipt({ conversation: id, user, received_seq, read_seq }) {
    const conversation = this.conversations.get(id);
    if (!conversation) return;
    if (user === this.user.id) {
      this.#raise(id, { received_seq, read_seq });
    } else if (conversation.kind === "direct") {
      this.#raise(id, { peer_received_seq: received_seq, peer_read_seq: read_seq });
    } else {
      const marks = this.#receipts.get(id) ?? new Map();
      const before = marks.get(user) ?? { received_seq: 0, read_seq: 0 };
      this.#receipts.set(id, marks.set(user, higher(before, { received_seq, read_seq })));
    }
    this.emit("receipt", { conversation: id, user, received_seq, read_seq });
  }

  #revision(revision) {
    const timeline = this.#timelines.get(revision.conversation);
    const conversation = this.conversations.get(revision.conversation);
    if (timeline && conversation) {
      conversation.last_rev = Math.max(conversation.last_rev, revision.rev);
      // In order: what is missing before it is fetched, and this one with it.
      if (revision.rev === timeline.rev + 1) this.#revise([revision]);
      else this.#catchUpRevisions(revision.conversation);
    }
    this.emit("revision", revision);
  }

  #revise(revisions) {
    const [{ conversation: id }] = revisions;
    const timeline = this.#timelines.get(id);
    const conversation = this.conversations.get(id);
    let changed = false;
    let asked = false;
    for (const revision of revisions) {
      timeline.rev = Math.max(timeline.rev, revision.rev);
      const seq = subject(revision);
      // Who is in and what it is called is the host's to say: in a large group a list of members would not even tell.
      if (seq === undefined) asked = true;
      else changed = timeline.replace(seq, (message) => revised(message, revision, this.user.id)) || changed;
      if (seq !== undefined && conversation.last_message?.seq === seq) {
        conversation.last_message = revised(conversation.last_message, revision, this.user.id) ?? conversation.last_message;
      }
    }
    if (changed) this.emit("timeline", id);
    if (changed) this.emit("conversation", conversation);
    if (asked) this.#ask(id);
  }

  // Fetches the revisions between those known and the newest, page by page.
  #catchUpRevisions(id) {
    const timeline = this.#timelines.get(id);
    const last = this.conversations.get(id)?.last_rev ?? 0;
    if (!timeline || this.#revising.has(id) || timeline.rev >= last) return;
    this.#revising.add(id);
    const payload = { conversation: id, after_rev: timeline.rev, limit: PAGE_MAX };
    this.#link.call("revisions", payload, (error, page) => {
      this.#revising.delete(id);
      // The next revision or the next session asks again.
      if (error) return;
      if (page.revisions.length > 0) this.#revise(page.revisions);
      timeline.rev = Math.max(timeline.rev, ...page.gone.map(({ to }) => to));
      if (page.more) this.#catchUpRevisions(id);
    });
  }

  #hide(id, seqs) {
    if (this.#timelines.get(id)?.hide(seqs)) this.emit("timeline", id);
  }

  #raise(id, marks) {
    const conversation = this.conversations.get(id);
    if (!conversation) return;
    Object.assign(conversation, higher(conversation, marks));
    conversation.unread = Math.max(0, conversation.last_seq - conversation.read_seq);
    this.emit("conversation", conversation);
  }

  // Takes in a conversation as the host shows it. What came since by pushes is newer than an answer on its way.
  #learn(fresh, begin = fresh.received_seq) {
    const old = this.conversations.get(fresh.id);
    const { last_seq = 0, last_rev = 0, updated_at = 0, received_seq = 0, read_seq = 0 } = old ?? {};
    const { peer_received_seq = 0, peer_read_seq = 0 } = old ?? {};
    const marks = fresh.kind === "direct" ? { received_seq, read_seq, peer_received_seq, peer_read_seq } : { received_seq, read_seq };
    const conversation = higher(fresh, { ...marks, last_seq, last_rev, updated_at });
    if (old && last_seq > fresh.last_seq) conversation.last_message = old.last_message;
    conversation.unread = Math.max(0, conversation.last_seq - conversation.read_seq);
    this.conversations.set(fresh.id, conversation);
    if (fresh.peer) this.#meet([fresh.peer]);
    if (!this.#timelines.has(fresh.id)) {
      // It begins where the marks stand: what was never delivered is fetched, what was is there for who pages back.
      // What is fetched from here on shows all revisions that there are now.
      this.#timelines.set(fresh.id, new Timeline(begin, this.#keepMessages, fresh.last_rev));
    }
    this.emit("conversation", conversation);
    this.#catchUp(fresh.id);
    this.#catchUpRevisions(fresh.id);
    return conversation;
  }

  #ask(id, begin) {
    this.#link.call("conversation", { conversation: id }, (error, ok) => {
      if (!error) this.#learn(ok.conversation, begin);
    });
  }

  // Takes in how somebody stands to this person. Of a push that an answer overtook the newer one stays.
  #related(contact) {
    const { user, state, since } = contact;
    this.#meet([user]);
    if ((this.#relatedAt.get(user.id) ?? 0) > since) return contact;
    this.#relatedAt.set(user.id, since);
    if (state === "none") this.contacts.delete(user.id);
    else this.contacts.set(user.id, contact);
    this.emit("contact", contact);
    return contact;
  }

  #meet(users) {
    for (const user of users) {
      this.users.set(user.id, user);
      this.emit("user", user);
    }
  }

  #askForUsers() {
    const ids = this.#wantedUsers.splice(0, this.hello?.max_users_per_request ?? Infinity);
    this.#link.call("users", { ids }, (error, ok) => {
      // Those who do not exist count as asked for: asking again would bring nothing.
      if (error) for (const id of ids) this.#askedUsers.delete(id);
      else this.#meet(ok.users);
    });
    if (this.#wantedUsers.length > 0) this.#askForUsers();
  }
}

// A copy of `base` in which each of `marks` is at least what it says.
function higher(base, marks) {
  const raised = { ...base };
  for (const [name, value] of Object.entries(marks)) raised[name] = Math.max(raised[name] ?? 0, value);
  return raised;
}
