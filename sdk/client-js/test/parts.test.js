// The parts that need no host.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../backoff.js";
import { Emitter } from "../emitter.js";
import { clientId } from "../id.js";
import { webStorage } from "../index.js";
import { Timeline } from "../timeline.js";
import { revised } from "../revisions.js";

const message = (seq) => ({ seq });
const numbers = (messages) => messages.map(({ seq }) => seq);

test("client ids are of version 7, carry the time and rise", () => {
  const now = Date.now();
  const ids = Array.from({ length: 10_000 }, () => clientId(now));
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(Number.parseInt(ids[0].replaceAll("-", "").slice(0, 12), 16), now);
  assert.deepEqual(ids, [...new Set(ids)].sort());
});

test("delays double up to their bound and begin anew after a success", () => {
  const backoff = new Backoff({ baseMs: 100, maxMs: 1_000, random: () => 1 });
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [100, 200, 400, 800, 1_000, 1_000]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test("delays are spread and never nothing", () => {
  const random = [0, 0.5, 1];
  const delays = random.map((value) => new Backoff({ baseMs: 100, random: () => value }).next());
  assert.deepEqual(delays, [10, 55, 100]);
});

test("a timeline joins what came ahead once the gap is closed", () => {
  const timeline = new Timeline(0, 100);
  assert.deepEqual(numbers(timeline.add(message(1))), [1]);
  assert.deepEqual(timeline.add(message(3)), []);
  assert.deepEqual(numbers(timeline.all), [1, 3]);
  assert.ok(timeline.gap);
  assert.deepEqual(numbers(timeline.add(message(2))), [2, 3]);
  assert.deepEqual([timeline.high, timeline.gap], [3, false]);
});

test("a timeline counts what nobody can read any more as had", () => {
  const timeline = new Timeline(0, 100);
  timeline.add(message(6));
  const page = { messages: [message(1), message(4)], gone: [{ from: 2, to: 3 }, { from: 5, to: 5 }] };
  assert.deepEqual(numbers(timeline.addNewer(page)), [1, 4, 6]);
  assert.equal(timeline.high, 6);
  assert.deepEqual(timeline.add(message(5)), []);
});

test("a timeline that was read from below knows where it begins", () => {
  const timeline = new Timeline(10, 100);
  timeline.addOlder({ messages: [message(8), message(10)], gone: [{ from: 9, to: 9 }], more: true });
  assert.deepEqual([timeline.low, timeline.complete], [7, false]);
  timeline.addOlder({ messages: [], gone: [{ from: 1, to: 7 }], more: false });
  assert.ok(timeline.complete);
});

test("a web storage sees its own prefix alone", () => {
  const items = new Map([["other/x", "1"]]);
  const storage = {
    get length() {
      return items.size;
    },
    key: (i) => [...items.keys()][i] ?? null,
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => items.set(key, value),
    removeItem: (key) => items.delete(key),
  };
  const mine = webStorage(storage, "mine/");
  mine.set("a", "2");
  assert.deepEqual(mine.keys(), ["a"]);
  assert.deepEqual([mine.get("a"), mine.get("x"), items.get("mine/a")], ["2", null, "2"]);
  mine.remove("a");
  assert.deepEqual([...items.keys()], ["other/x"]);
});

test("a listener that throws is reported and costs the others nothing", (t) => {
  const reports = [];
  t.mock.method(globalThis, "queueMicrotask", (report) => reports.push(report));
  const emitter = new Emitter();
  const heard = [];
  emitter.on("message", () => {
    throw new Error("mine");
  });
  const off = emitter.on("message", (detail) => heard.push(detail));
  emitter.emit("message", 1);
  off();
  emitter.emit("message", 2);
  assert.deepEqual(heard, [1]);
  assert.equal(reports.length, 2);
  assert.throws(reports[0], /mine/);
});

test("a revision is taken over once, and what is deleted shows nothing", () => {
  const message = { conversation: "c", seq: 4, sender: "a", sent_at: 1, kind: "text", body: "helo" };
  const edit = { rev: 2, at: 7, by: "a", edit: { seq: 4, body: "hello" } };
  const edited = revised(message, edit, "b");
  assert.deepEqual([edited.body, edited.rev, edited.edited_at], ["hello", 2, 7]);
  assert.equal(revised(edited, edit, "b"), null, "it shows that already");
  assert.equal(revised(message, { rev: 3, at: 8, by: "a", edit: { seq: 4 } }, "b"), null, "a later edit has the text");
  const liked = revised(edited, { rev: 3, at: 8, by: "b", react: { seq: 4, emoji: "+1", on: true, count: 1 } }, "b");
  assert.deepEqual([liked.reactions, liked.my_reactions], [{ "+1": 1 }, ["+1"]]);
  const unliked = revised(liked, { rev: 4, at: 9, by: "b", react: { seq: 4, emoji: "+1", on: false, count: 0 } }, "b");
  assert.deepEqual([unliked.reactions, unliked.my_reactions], [{}, []]);
  const many = revised(liked, { rev: 4, at: 9, react: { seq: 4, counts: { "+1": 0, "!": 300 } } }, "b");
  assert.deepEqual([many.reactions, many.my_reactions], [{ "!": 300 }, ["+1"]], "who, is not told");
  const gone = revised(liked, { rev: 5, at: 9, by: "a", delete: { seq: 4 } }, "b");
  assert.deepEqual([gone.body, gone.deleted, gone.reactions], ["", true, undefined]);
  assert.equal(revised(gone, { rev: 6, at: 9, by: "a", edit: { seq: 4, body: "back" } }, "b"), null);
});

test("a timeline changes and hides what is here, ahead of a gap too", () => {
  const timeline = new Timeline(0, 100);
  for (const seq of [1, 2, 5]) timeline.add({ seq, body: "x" });
  assert.equal(timeline.replace(5, (message) => ({ ...message, body: "y" })), true);
  assert.equal(timeline.replace(3, () => ({})), false);
  assert.equal(timeline.hide([1]), true);
  assert.deepEqual(timeline.all.map(({ seq, body }) => [seq, body]), [[2, "x"], [5, "y"]]);
});
