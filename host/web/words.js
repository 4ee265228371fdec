// How people, times and texts are put into words.

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const DAY_MS = 86_400_000;
const HUES = 8;

/** What a person is called. */
export const nameOf = (user) => user?.display_name || user?.name || "…";

/** What a conversation is called. */
export function titleOf(conversation, me) {
  if (conversation.kind !== "direct") return conversation.title || "Group";
  return conversation.peer?.id === me.id ? "Notes to myself" : nameOf(conversation.peer);
}

/** The first letters of up to two words. */
export function initialsOf(text) {
  const words = text.split(/[\s._-]+/).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}

/** One of a few colours, the same for the same id. */
export const hueOf = (id) => String(Number.parseInt(id.slice(-4), 16) % HUES);

/** The time of day. */
export const clock = (ms) => time.format(ms);

/** The day: today, yesterday, a weekday of the last week, or the date. */
export function day(ms, now = Date.now()) {
  const midnight = (value) => new Date(value).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(now) - midnight(ms)) / DAY_MS);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return days > 0 && days < 7 ? weekday.format(ms) : date.format(ms);
}

/** The time of day of today, else the day. */
export const when = (ms) => (day(ms) === "Today" ? clock(ms) : day(ms));

/** The text with its web addresses apart: `[text, address, text, …]`. */
export const splitLinks = (text) => text.split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]])/);

/** What went wrong, for people. */
export function problem(error) {
  if (error.code === "connection_lost") return "The server cannot be reached. Try again in a moment.";
  if (error.code === "rate_limited") return "Too many attempts. Wait a moment and try again.";
  const text = error.message || error.code;
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
