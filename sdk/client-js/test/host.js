// A host of the client protocol in memory: enough of it to try a client against, faults on demand included.
// It keeps nothing, moderates by a function, and trusts everyone. It is no model of how the real host works inside.
//
// This file is long because it answers every request that the client has a method for.

import { createHash, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

/** Starts a host on a free port of the loopback. */
export async function startHost({ port = 0, serveFile = notFound, ...limits } = {}) {
  const host = new Host(limits);
  const server = createServer((request, response) => host.http(request, response, serveFile));
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => "godwit.v1.json" });
  server.on("upgrade", (request, socket, head) => {
    // As something on the way does that knows no WebSocket.
    if (host.blocksSockets) return socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    sockets.handleUpgrade(request, socket, head, (socket) => sockets.emit("connection", socket));
  });
  sockets.on("connection", (socket) => host.accept(socket));
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  host.url = `http://127.0.0.1:${server.address().port}`;
  host.stop = () =>
    new Promise((resolve) => {
      for (const socket of sockets.clients) socket.terminate();
      server.close(resolve);
      server.closeAllConnections();
    });
  return host;
}

function notFound(request, response) {
  response.writeHead(404).end();
}

function refusal(code, message, more = {}) {
  return { code, message, temporary: false, ...more };
}

class Host {
  /** What commands were answered, by client id. */
  answers = new Map();
  #users = new Map();
  #logins = new Map();
  #conversations = new Map();
  #sessions = new Set();
  #httpSessions = new Map();
  #held = new Map();
  #contacts = new Map();
  #clock = 0;

  /** Says why a body is refused: `{code, text}` or nothing. */
  moderate = () => null;
  /** Says why a body is held, or nothing; `decide` says what becomes of it. */
  hold = () => null;
  /** Rewrites a body. */
  normalise = (body) => body;
  /** What befalls the coming requests of a name, one each: an error, `drop` (the socket goes) or `silence` (no answer). */
  faults = { send: [], history: [], connect: [] };
  /** Which store this is. */
  epoch = "1";
  /** Every request that came in, by name. */
  requests = [];
  /** How many frames came in. */
  frames = 0;
  /** Pushes of messages with these numbers are left out. */
  lostPushes = new Set();
  /** Who is here, for those who watch. */
  here = new Set();
  /** Whether something on the way lets no socket through. */
  blocksSockets = false;
  /** Whether something on the way keeps streams back. */
  blocksStreams = false;
  /** So many of the coming answers to requests for pushes are lost. */
  lostAnswers = 0;

  constructor({ ttlMs = 900_000, hello = {} } = {}) {
    this.ttlMs = ttlMs;
    this.hello = {
      protocol: 1,
      server: "godwit/test",
      ping_interval_ms: 25_000,
      max_frame_bytes: 131_072,
      max_body_bytes: 16_384,
      max_in_flight: 256,
      max_users_per_request: 500,
      follow_above: 100,
      features: [],
      ...hello,
    };
  }

  /** How many requests of that name came in. */
  count(name) {
    return this.requests.filter((request) => name in request).length;
  }

  /** Closes every socket. */
  closeAll(code) {
    for (const { socket } of this.#sessions) socket.close(code);
  }

  /** Sends a push to every session. */
  pushAll(push) {
    for (const session of this.#sessions) session.push(push);
  }

  /** Forgets all access tokens: whoever connects with one has to renew it first. */
  expireTokens() {
    for (const login of this.#logins.values()) login.access_token = randomUUID();
  }

  http(request, response, serveFile) {
    const path = new URL(request.url, this.url).pathname;
    if (path === "/v1/rpc") return this.#rpc(request, response);
    if (path === "/v1/events") return this.#events(request, response);
    if (!path.startsWith("/v1/auth/")) return serveFile(request, response, path);
    let text = "";
    request.on("data", (chunk) => (text += chunk));
    request.on("end", () => {
      const bearer = request.headers.authorization?.replace("Bearer ", "");
      const [status, body] = this.#auth(path.slice("/v1/auth/".length), text ? JSON.parse(text) : {}, bearer);
      response.writeHead(status, { "content-type": "application/json" }).end(body && JSON.stringify(body));
    });
  }

  // The session of an HTTP request; where there is none to be had, it is answered.
  #enter(request, response) {
    const fail = (status, code, close) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: refusal(code, code), close }));
    };
    const session = this.#httpSessions.get(request.headers["godwit-session"]);
    const login = this.#logins.get(session?.login);
    if (!session) return fail(410, "session_gone", 3003);
    if (session.closed) return fail(410, "session_gone", session.closed);
    if (`Bearer ${login.access_token}` !== request.headers.authorization) return fail(401, "unauthorised");
    return session;
  }

  #rpc(request, response) {
    const isNew = !("godwit-session" in request.headers);
    const session = isNew ? this.#httpSession() : this.#enter(request, response);
    if (!session) return;
    let text = "";
    request.on("data", (chunk) => (text += chunk));
    request.on("end", () => {
      const pushes = [];
      const reply = this.#handle(session, JSON.parse(text), pushes);
      if (reply === "drop") return request.socket.destroy();
      if (isNew && reply.ok) {
        this.#httpSessions.set(reply.ok.session, session);
        reply.ok.hello = this.hello;
      }
      if (!reply && "typing" in JSON.parse(text)) response.writeHead(204).end();
      if (reply) response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(reply));
      for (const push of pushes) push();
    });
  }

  #httpSession() {
    const session = { user: null, pushes: [], first: 1, closed: null, serve: () => {} };
    session.push = (push) => {
      session.pushes.push(push);
      session.serve();
    };
    const close = (code) => {
      session.closed = code;
      this.#sessions.delete(session);
      session.serve();
    };
    session.socket = { close };
    return session;
  }

  #events(request, response) {
    const session = this.#enter(request, response);
    if (!session) return;
    const query = new URL(request.url, this.url).searchParams;
    const after = Number(request.headers["last-event-id"] ?? query.get("after"));
    session.pushes.splice(0, after + 1 - session.first);
    session.first = after + 1;
    if (this.lostAnswers > 0) {
      this.lostAnswers -= 1;
      return request.socket.destroy();
    }
    if (request.headers.accept === "text/event-stream") this.#stream(session, response);
    else this.#poll(session, response);
  }

  #stream(session, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (this.blocksStreams) return response.flushHeaders();
    response.write(":\n\n");
    let sent = 0;
    session.serve = () => {
      for (; sent < session.pushes.length; sent++) {
        response.write(`id: ${session.first + sent}\ndata: ${JSON.stringify(session.pushes[sent])}\n\n`);
      }
      if (session.closed) response.end(`event: close\ndata: ${JSON.stringify({ close: session.closed })}\n\n`);
    };
    session.serve();
  }

  #poll(session, response) {
    session.serve = () => {
      if (response.writableEnded || (session.pushes.length === 0 && !session.closed)) return;
      const events = session.pushes.map((push, at) => ({ n: session.first + at, push }));
      const [status, body] = session.closed ? [410, { close: session.closed }] : [200, { events }];
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    };
    session.serve();
  }

  #auth(action, { name, password, display_name, refresh_token }, bearer) {
    const error = (status, code, message, field) => [status, { error: refusal(code, message, { field }) }];
    const account = [...this.#users.values()].find(({ user }) => user.name === name);
    if (action === "register") {
      if (!/^[a-z0-9._-]{3,32}$/.test(name)) return error(400, "invalid", `name \`${name}\` is not 3 to 32 of a-z0-9._-`, "name");
      if (password.length < 8) return error(400, "invalid", "the password is shorter than 8 characters", "password");
      if (account) return error(409, "conflict", `the name \`${name}\` is taken`, "name");
      const user = { id: randomUUID(), name, display_name, joined_at: Date.now() };
      this.#users.set(user.id, { user, password });
      return [201, this.#issue(user, randomUUID())];
    }
    if (action === "login") {
      if (account?.password !== password) return error(401, "unauthorised", "the name or the password is wrong");
      return [200, this.#issue(account.user, randomUUID())];
    }
    if (action === "refresh") {
      const [id, login] = [...this.#logins].find(([, login]) => login.refreshed.has(refresh_token)) ?? [];
      if (!login) return error(401, "unauthorised", "the login has ended");
      if (login.refresh_token === refresh_token) return [200, this.#issue(login.user, id)];
      this.#end(id);
      return error(401, "unauthorised", "the refresh token was used before");
    }
    const [id] = [...this.#logins].find(([, login]) => login.access_token === bearer) ?? [];
    if (!id) return error(401, "unauthorised", "the token is not valid");
    this.#end(id);
    return [204];
  }

  #issue(user, id) {
    const [access_token, refresh_token] = [randomUUID(), randomUUID()];
    const refreshed = this.#logins.get(id)?.refreshed ?? new Set();
    this.#logins.set(id, { user, access_token, refresh_token, refreshed: refreshed.add(refresh_token) });
    return { user, access_token, refresh_token, expires_at: Date.now() + this.ttlMs };
  }

  #end(id) {
    this.#logins.delete(id);
    for (const session of this.#sessions) if (session.login === id) session.socket.close(3504);
  }

  accept(socket) {
    const session = { socket, user: null, push: (push) => socket.send(JSON.stringify(push)) };
    session.push({ hello: this.hello });
    socket.on("message", (data) => {
      this.frames += 1;
      const replies = [];
      const pushes = [];
      for (const line of data.toString().split("\n").filter(Boolean)) {
        const reply = this.#handle(session, JSON.parse(line), pushes);
        if (reply === "drop") return socket.terminate();
        if (reply) replies.push(JSON.stringify(reply));
      }
      if (replies.length > 0) socket.send(replies.join("\n"));
      if (replies.some((reply) => reply.includes('"unauthorised"'))) socket.close(3500);
      for (const push of pushes) push();
    });
    socket.on("close", () => this.#sessions.delete(session));
  }

  #handle(session, { id, ...request }, pushes) {
    this.requests.push(request);
    const [name] = Object.keys(request);
    const later = (member, push, but) => pushes.push(() => this.#tell(member, push, but));
    if (name !== "connect" && !session.user) return { id, error: refusal("unauthorised", "not connected") };
    if (this.faults[name]?.length > 0) {
      const fault = this.faults[name].shift();
      if (fault === "silence") return null;
      // Lost after it took effect, as the answer may be.
      if (fault === "drop") this[name](session, request[name], later);
      return fault === "drop" ? fault : { id, error: fault };
    }
    const known = ["connect", "direct", "create", "invite", "members", "conversation", "conversations", "send", "history", "received", "read", "users", "commands", "command", "follow", "unfollow", "active", "watch", "presence", "profile", "typing", "contacts", "contact", "settings", "discover", "join", "update", "link"];
    if (!known.includes(name)) return { id, error: refusal("unknown_request", `no request is called \`${name}\``) };
    if (name === "typing") return this.typing(session, request[name], later);
    try {
      return { id, ok: this[name](session, request[name], later) };
    } catch (error) {
      if (error.refusal) return { id, error: error.refusal };
      throw error;
    }
  }

  #refuse(...error) {
    throw Object.assign(new Error(error[1]), { refusal: refusal(...error) });
  }

  #tell(user, push, but) {
    for (const session of this.#sessions) {
      if (session.user === user && session !== but) session.push(this.#spared(session, push.message) ?? push);
    }
  }

  // Where a session does not follow a large conversation, it is told where that stands in place of a message.
  #spared(session, message) {
    const { id, members, messages, revisions, updated_at } = this.#conversations.get(message?.conversation) ?? {};
    if (!id || members.size <= this.hello.follow_above || session.following?.has(id)) return null;
    return { heads: [{ conversation: id, last_seq: messages.length, last_rev: revisions, updated_at }] };
  }

  follow(session, { conversation }) {
    session.following = (session.following ?? new Set()).add(this.#find(session, conversation).id);
    return {};
  }

  unfollow(session, { conversation }) {
    session.following?.delete(conversation);
    return {};
  }

  active(session, { active }) {
    session.active = active;
    return {};
  }

  watch(session, { users }) {
    session.watched = users;
    return this.presence(session, { users });
  }

  presence(session, { users }) {
    return { presence: users.map((user) => ({ user, online: this.here.has(user), last_seen: this.here.has(user) ? undefined : 7 })) };
  }

  /** Someone is here from now on, or no longer. */
  come(user, online) {
    if (online) this.here.add(user);
    else this.here.delete(user);
    for (const session of this.#sessions) {
      if (session.watched?.includes(user)) session.push({ presence: { user, online } });
    }
  }

  profile(session, change, later) {
    const account = this.#users.get(session.user);
    account.user = { ...account.user, ...change };
    for (const user of this.#users.keys()) later(user, { user: account.user }, session);
    return { user: account.user };
  }

  // It has no answer.
  typing(session, { conversation: id }, later) {
    for (const member of this.#find(session, id).members.keys()) {
      if (member !== session.user) later(member, { typing: { conversation: id, user: session.user } });
    }
    return null;
  }

  #find(session, id) {
    const conversation = this.#conversations.get(id);
    if (!conversation?.members.has(session.user)) this.#refuse("not_found", `no conversation \`${id}\``);
    return conversation;
  }

  #show(conversation, user) {
    const { id, kind, title, messages, members, updated_at, revisions } = conversation;
    const marks = members.get(user);
    const peerId = kind === "direct" ? [...members.keys()].find((member) => member !== user) ?? user : null;
    const peer = peerId && { peer: this.#users.get(peerId).user, peer_read_seq: members.get(peerId).read_seq, peer_received_seq: members.get(peerId).received_seq };
    return {
      id, kind, title, ...peer, members: [...members.keys()], member_count: members.size, role: marks.role,
      open: conversation.open ?? false, encrypted: false, history: "since_join", last_seq: messages.length, last_rev: revisions,
      last_message: messages.at(-1), read_seq: marks.read_seq, received_seq: marks.received_seq,
      unread: messages.length - marks.read_seq, hidden: 0, pinned: false, archived: false, ...marks.settings, updated_at,
    };
  }

  #make(id, fields, creator, others, later, session) {
    let conversation = this.#conversations.get(id);
    if (!conversation) {
      const join = (role) => ({ role, since: 0, read_seq: 0, received_seq: 0, joined_at: Date.now() });
      const members = new Map([[creator, join("owner")], ...others.map((user) => [user, join("member")])]);
      conversation = { id, ...fields, members, messages: [], byClient: new Map(), revisions: members.size, updated_at: this.#tick() };
      this.#conversations.set(id, conversation);
      for (const user of members.keys()) later(user, { conversation: this.#show(conversation, user) }, session);
    }
    return conversation;
  }

  #tick() {
    return (this.#clock = Math.max(Date.now(), this.#clock + 1));
  }

  connect(session, { token, window }) {
    const [login, { user } = {}] = [...this.#logins].find(([, login]) => login.access_token === token) ?? [];
    if (!user) this.#refuse("unauthorised", "the token is not valid");
    Object.assign(session, { user: user.id, login });
    this.#sessions.add(session);
    const { conversations } = this.conversations(session, { limit: window });
    return { user, session: randomUUID(), epoch: this.epoch, cursor: "0", recovered: false, conversations, contacts: this.contacts(session).contacts, held: this.#heldBy(user.id) };
  }

  users(session, { query, ids }) {
    const users = [...this.#users.values()].map(({ user }) => user);
    return { users: users.filter(({ id, name }) => (ids ? ids.includes(id) : name === query)) };
  }

  /** One command, which says back what it is given; a repeat gets the first answer. */
  commands(session, { conversation: id }) {
    this.#find(session, id);
    const argument = { name: "text", type: "text", required: true, help: "what to say" };
    return { commands: [{ plugin: "echo", name: "echo", help: "says it again", arguments: [argument] }] };
  }

  command(session, { conversation: id, client_id, name, arguments: given }) {
    this.#find(session, id);
    if (name !== "echo") this.#refuse("not_found", `there is no command \`/${name}\` here`);
    if (typeof given.text !== "string") this.#refuse("invalid", "`text` is needed");
    if (!this.answers.has(client_id)) this.answers.set(client_id, given.text && { reply: { kind: "text", body: given.text } });
    return this.answers.get(client_id) || {};
  }

  #contact(user, other) {
    const { state = "none", since = 0 } = this.#contacts.get(`${user} ${other}`) ?? {};
    return { user: this.#users.get(other).user, state, since };
  }

  contacts({ user }) {
    const others = [...this.#users.keys()].filter((other) => other !== user);
    return { contacts: others.map((other) => this.#contact(user, other)).filter(({ state }) => state !== "none") };
  }

  contact(session, { user: other, action }, later) {
    const me = session.user;
    const [mine, theirs] = [this.#contact(me, other).state, this.#contact(other, me).state];
    const none = theirs === "blocked" ? "blocked" : "none";
    if (action === "request" && [mine, theirs].includes("blocked")) this.#refuse("blocked", "one of you blocks the other");
    if (["accept", "decline"].includes(action) && mine !== "asked") this.#refuse("conflict", "there is no request of theirs");
    const friends = ["friend", "friend"];
    const request = mine === "asked" ? friends : ["requested", "asked"];
    const states = { request, accept: friends, decline: ["none", "none"], remove: ["none", none], block: ["blocked", none], unblock: ["none", none] };
    const [to, then] = states[action];
    const since = this.#tick();
    for (const [one, two, before, state] of [[me, other, mine, to], [other, me, theirs, then]]) {
      if (before === state) continue;
      this.#contacts.set(`${one} ${two}`, { state, since });
      later(one, { contact: this.#contact(one, two) }, session);
    }
    return { contact: this.#contact(me, other) };
  }

  settings(session, { conversation: id, ...settings }, later) {
    const conversation = this.#find(session, id);
    const member = conversation.members.get(session.user);
    member.settings = { ...member.settings, ...settings };
    later(session.user, { conversation: this.#show(conversation, session.user) }, session);
    return { conversation: this.#show(conversation, session.user) };
  }

  direct(session, { user }, later) {
    if (!this.#users.has(user)) this.#refuse("unknown_user", `no user \`${user}\``);
    const id = derived("direct", ...[session.user, user].sort());
    return { conversation: this.#show(this.#make(id, { kind: "direct" }, session.user, [user], later, session), session.user) };
  }

  create(session, { client_id, kind, title, open = false, members = [] }, later) {
    const id = derived("create", session.user, client_id);
    return { conversation: this.#show(this.#make(id, { kind, title, open }, session.user, members, later, session), session.user) };
  }

  discover(session, { query = "" }) {
    const open = [...this.#conversations.values()].filter((one) => one.open && one.title.includes(query));
    return { conversations: open.map(({ id, kind, title, members }) => ({ id, kind, title, member_count: members.size })) };
  }

  join(session, { conversation, code }, later) {
    const found = code ? [...this.#conversations.values()].find((one) => one.code === code) : this.#conversations.get(conversation);
    if (!found || !(code || found.open)) this.#refuse("not_found", "no such conversation or link");
    const [mark, role] = [found.messages.length, found.kind === "channel" ? "reader" : "member"];
    found.members.set(session.user, { role, since: 0, read_seq: mark, received_seq: mark, joined_at: Date.now() });
    later(session.user, { conversation: this.#show(found, session.user) });
    return { rev: found.revisions };
  }

  update(session, { conversation: id, client_id, ...changes }, later) {
    const conversation = Object.assign(this.#find(session, id), changes);
    conversation.revisions += 1;
    const revision = { conversation: id, rev: conversation.revisions, at_seq: conversation.messages.length, by: session.user, at: Date.now(), meta: changes };
    for (const member of conversation.members.keys()) later(member, { revision });
    return { rev: conversation.revisions };
  }

  link(session, { conversation }) {
    const code = randomUUID();
    this.#find(session, conversation).code = code;
    return { link: { code, by: session.user, created_at: Date.now() } };
  }

  invite(session, { conversation: id, users }, later) {
    const conversation = this.#find(session, id);
    const mark = conversation.messages.length;
    for (const user of users.filter((user) => !conversation.members.has(user))) {
      conversation.members.set(user, { role: "member", since: mark, read_seq: mark, received_seq: mark, joined_at: Date.now() });
      conversation.revisions += 1;
      const what = { conversation: id, rev: conversation.revisions, at_seq: mark, by: session.user, at: Date.now(), join: { user, role: "member" } };
      for (const member of conversation.members.keys()) later(member, { revision: what });
      later(user, { conversation: this.#show(conversation, user) });
    }
    return { rev: conversation.revisions };
  }

  members(session, { conversation }) {
    const { members } = this.#find(session, conversation);
    return { members: [...members].map(([user, { role, joined_at }]) => ({ user, role, joined_at })) };
  }

  conversation(session, { conversation }) {
    return { conversation: this.#show(this.#find(session, conversation), session.user) };
  }

  conversations(session, { page = "0", limit = 50 }) {
    const mine = [...this.#conversations.values()].filter(({ members }) => members.has(session.user));
    const sorted = mine.sort((a, b) => b.updated_at - a.updated_at).slice(Number(page));
    const next = sorted.length > limit ? String(Number(page) + limit) : undefined;
    return { conversations: sorted.slice(0, limit).map((conversation) => this.#show(conversation, session.user)), next };
  }

  send(session, { conversation: id, to, client_id, body }, later) {
    const conversation = to ? this.#conversations.get(this.direct(session, { user: to }, later).conversation.id) : this.#find(session, id);
    const { messages, members, byClient } = conversation;
    const before = byClient.get(client_id);
    if (before) return { ...before, duplicate: true };
    if (Buffer.byteLength(body) > this.hello.max_body_bytes) this.#refuse("too_large", `the body has ${Buffer.byteLength(body)} bytes, at most ${this.hello.max_body_bytes} are allowed`, { field: "body" });
    const reason = this.moderate(body);
    if (reason) this.#refuse("moderated", reason.text, { field: reason.code });
    const decided = this.#held.get(client_id)?.decided;
    if (decided === false) this.#refuse("moderated", "not here");
    const held = decided ? null : this.#held.get(client_id)?.reason ?? this.hold(body);
    if (held) {
      this.#held.set(client_id, { user: session.user, conversation: conversation.id, body, reason: held });
      return { conversation: conversation.id, held: { reason: held, until: Date.now() + 60_000 } };
    }
    const message = { conversation: conversation.id, seq: messages.length + 1, sender: session.user, sent_at: this.#tick(), kind: "text", body: this.normalise(body) };
    const marks = members.get(session.user);
    for (const mark of ["read_seq", "received_seq"]) if (marks[mark] === messages.length) marks[mark] = message.seq;
    messages.push(message);
    conversation.updated_at = message.sent_at;
    const answer = { conversation: conversation.id, seq: message.seq, sent_at: message.sent_at };
    byClient.set(client_id, answer);
    for (const member of members.keys()) {
      const own = member === session.user ? { client_id } : {};
      if (!this.lostPushes.has(message.seq)) later(member, { message: { ...message, ...own } }, session);
    }
    return answer;
  }

  /** Releases what is held, or rejects it; `told` says whether its sender hears of it at once. */
  decide(body, released, told = true) {
    const [client_id, held] = [...this.#held].find(([, held]) => held.body === body);
    const { user, conversation } = held;
    held.decided = released;
    const pushes = [];
    const later = (member, push) => pushes.push([member, push]);
    const sent = released ? this.send({ user }, { conversation, client_id, body }, later) : { rejected: "not here" };
    if (!told) return;
    for (const [member, push] of pushes) this.#tell(member, push);
    this.#tell(user, { verdict: { ...sent, conversation, client_id } });
  }

  #heldBy(user) {
    const mine = [...this.#held].filter(([, held]) => held.user === user && held.decided === undefined);
    return mine.map(([client_id, { conversation, reason }]) => ({ conversation, client_id, reason, since: 0, until: 1 }));
  }

  history(session, { conversation: id, after_seq, before_seq, limit = 50 }) {
    const { messages, members } = this.#find(session, id);
    const { since } = members.get(session.user);
    const range = messages.filter(({ seq }) => seq > (after_seq ?? 0) && seq < (before_seq ?? Infinity));
    const page = after_seq === undefined ? range.slice(-limit) : range.slice(0, limit);
    const visible = page.filter(({ seq }) => seq > since);
    const hidden = page.slice(0, page.length - visible.length);
    const gone = hidden.length > 0 ? [{ from: hidden[0].seq, to: hidden.at(-1).seq, why: "not_visible" }] : [];
    return { messages: visible, gone, as_of_rev: 0, more: range.length > page.length };
  }

  received(session, { conversation, seq }, later) {
    return this.#mark(session, conversation, { received_seq: seq }, later);
  }

  read(session, { conversation, seq }, later) {
    return this.#mark(session, conversation, { received_seq: seq, read_seq: seq }, later);
  }

  #mark(session, id, wanted, later) {
    const { members, messages } = this.#find(session, id);
    const marks = members.get(session.user);
    for (const [mark, seq] of Object.entries(wanted)) marks[mark] = Math.max(marks[mark], Math.min(seq, messages.length));
    const { received_seq, read_seq } = marks;
    const receipt = { conversation: id, user: session.user, received_seq, read_seq, at: Date.now() };
    for (const member of members.keys()) later(member, { receipt }, session);
    return { received_seq, read_seq };
  }
}

function derived(...parts) {
  const hex = createHash("sha256").update(parts.join(" ")).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
