// A stand-in for the host, so that `node --import ./godwit/sdk/js/testing.mjs --test` runs a plugin natively.
//
// It has a log, counters, rows and a clock that a test moves, and arguments to call hooks with. It enforces no limit:
// `godwit plugin test` does, in the real engine.
import { register } from "node:module";

register("./testing-hooks.mjs", import.meta.url);

/** When a test's clock starts: an ordinary day in 2025. */
export const START = 1_750_000_000_000;

/** What the plugin did, and what it finds. A test changes it freely; `reset` makes it new. */
export const host = (globalThis.godwitHost ??= {});

/** Makes the host new: nobody said or kept anything. */
export function reset() {
  Object.assign(host, {
    now: START,
    /** Lines that were logged: `[level, text]`. */
    lines: [],
    hits: new Map(),
    rows: new Map(),
    /** What was done: `{ send: … }`, `{ edit: … }`, `{ timer: … }` and the like, in order. */
    effects: [],
    secrets: new Map(),
    users: [],
    members: [],
    messages: [],
    /** Answers requests of the plugin; throws without one. */
    answerHttp: undefined,
  });
}

/** Lets time pass, in milliseconds. */
export function advance(ms) {
  host.now += ms;
}

/** Runs a hook of an actor as the host does: what it did stays only if it returns. */
export function transaction(hook) {
  const [rows, effects] = [new Map(host.rows), host.effects.length];
  try {
    return hook();
  } catch (error) {
    host.rows = rows;
    host.effects.length = effects;
    throw error;
  }
}

/** The texts that were sent, in order. */
export const sent = () => host.effects.flatMap((effect) => (effect.send ? [effect.send.content.body] : []));

/** An id with this value. */
export const id = (value) => ({ hi: 0n, lo: BigInt(value) });

/** Someone. */
export const user = (value, name) => ({
  id: id(value),
  name,
  bot: false,
  joinedAt: BigInt(START - 86_400_000),
});

const counts = () => ({ messages10s: 0, messages60s: 0, messages1h: 0 });

/** What every filter is told: a member of a small group, now. */
export const scene = () => ({
  now: BigInt(host.now),
  conversation: conversation(),
  sender: user(2, "ada"),
  senderRole: "member",
  activity: { here: counts(), overall: counts(), sameBody60s: 0, memberSince: BigInt(START - 3_600_000) },
});

/** A small group. */
export const conversation = () => ({
  id: id(1),
  kind: "group",
  title: "Team",
  memberCount: 3,
  encrypted: false,
  labels: [],
});

/** Content with that text. */
export const content = (body) => ({ kind: "text", body, attachments: [], mentions: [] });

/** A message to be reviewed. */
export const message = (body) => ({ tag: "message", val: content(body) });

/** A message that has its number. */
export const stored = (body) => ({
  conversation: id(1),
  seq: 1n,
  sender: id(2),
  sentAt: BigInt(host.now),
  content: content(body),
  edited: false,
});

/** What a fan-out rule is told of a conversation with so many members. */
export const facts = (memberCount) => ({
  followAbove: 100,
  memberCount,
  followerCount: 0,
  onlineCount: memberCount,
  admins: [],
  mentioned: [],
});

/** Someone whom a message is about to reach. */
export const recipient = (name, more = {}) => ({
  user: user(7, name),
  role: "member",
  online: true,
  active: false,
  mentioned: false,
  ...more,
});

/** An event of a message; `tag` may be `mentioned`. */
export const said = (body, tag = "message") => ({
  id: "event",
  at: BigInt(host.now),
  conversation: conversation(),
  what: { tag, val: { message: stored(body), sender: user(2, "ada") } },
});

const bucket = (key) => (key.includes("/") ? key.slice(0, key.indexOf("/")) : "");
const same = (one, other) => one.hi === other.hi && one.lo === other.lo;
const act = (effect) => void host.effects.push(effect);
const bytes = (value) => (typeof value === "string" ? new TextEncoder().encode(value) : value);

const recent = (key, window) => (host.hits.get(key) ?? []).filter((at) => at + window > host.now).length;

const shownTo = (part) => [part("year"), part("month") - 1, ...["day", "hour", "minute", "second"].map(part)];

function local(zone, at) {
  try {
    const parts = new Intl.DateTimeFormat("en-CA", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    }).formatToParts(Number(at));
    const part = (type) => Number(parts.find((found) => found.type === type)?.value);
    const date = new Date(Date.UTC(part("year"), part("month") - 1, part("day")));
    return {
      year: part("year"),
      month: part("month"),
      day: part("day"),
      hour: part("hour"),
      minute: part("minute"),
      second: part("second"),
      millisecond: 0,
      offsetS: Math.round((Date.UTC(...shownTo(part)) - Number(at)) / 60_000) * 60,
      weekday: date.getUTCDay() === 0 ? 7 : date.getUTCDay(),
    };
  } catch {
    return undefined;
  }
}

/** What the plugin's imports are. */
host.services = {
  log: { log: (level, text) => void host.lines.push([level, text]) },
  rate: {
    hit(key, window) {
      host.hits.set(key, [...(host.hits.get(key) ?? []), host.now]);
      return recent(key, window);
    },
    peek: recent,
  },
  state: {
    get: (key) => host.rows.get(key),
    getMany: (keys) => keys.map((key) => host.rows.get(key)),
  },
  zone: {
    local,
    instant(zone, wanted) {
      const guess = Date.UTC(wanted.year, wanted.month - 1, wanted.day, wanted.hour, wanted.minute, wanted.second);
      const shown = local(zone, guess);
      if (!shown) return undefined;
      const there = Date.UTC(shown.year, shown.month - 1, shown.day, shown.hour, shown.minute, shown.second);
      return BigInt(guess - (there - guess));
    },
  },
  kv: {
    get: (key) => host.rows.get(key),
    set: (key, value) => void host.rows.set(key, bytes(value)),
    delete: (key) => void host.rows.delete(key),
    scan(name, after, limit) {
      const keys = [...host.rows.keys()].filter((key) => bucket(key) === name && (!after || key > after)).sort();
      return keys.slice(0, limit).map((key) => ({ key, value: host.rows.get(key) }));
    },
  },
  chat: {
    send(to, what) {
      act({ send: { to, content: what } });
      return `event#${host.effects.length - 1}`;
    },
    edit: (target, body) => act({ edit: { message: target, body } }),
    delete: (target) => act({ delete: target }),
    react: (target, emoji, on) => act({ react: { message: target, emoji, on } }),
    typing: (place) => act({ typing: place }),
    history(place, before, limit) {
      const older = (found) => same(found.conversation, place) && (!before || found.seq < before);
      return host.messages.filter(older).reverse().slice(0, limit);
    },
    members: (_place, _after, limit) => host.members.slice(0, limit),
    findUser: (who) =>
      host.users.find((found) => (who.tag === "name" ? found.name === who.val : same(found.id, who.val))),
  },
  timer: {
    set: (name, at, payload) => act({ timer: { name, at, payload } }),
    cancel: (name) => act({ cancelTimer: name }),
  },
  http: {
    fetch(request) {
      if (!host.answerHttp) throw { tag: "connection", val: "the test answers no request" };
      return host.answerHttp(request);
    },
  },
  secret: { get: (name) => host.secrets.get(name) },
};

reset();
