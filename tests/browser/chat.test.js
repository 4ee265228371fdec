// Two people chat through the real server in a real browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  enter,
  message,
  newcomer,
  openBrowser,
  openWindow,
  picture,
  register,
  row,
  shows,
  startChat,
  texts,
  unread,
  write,
} from "./people.js";
import { startServer } from "./server.js";

async function start(t) {
  const [server, browser] = await Promise.all([startServer(t), openBrowser(t)]);
  return { server, browser };
}

async function annaAndBen(t) {
  const { server, browser } = await start(t);
  const anna = await newcomer(browser, server.url, "anna");
  const ben = await newcomer(browser, server.url, "ben");
  return { server, browser, anna, ben };
}

function faultless(...pages) {
  for (const page of pages) assert.deepEqual(page.problems, []);
}

test("two people chat, and each sees what became of a message", async (t) => {
  const { anna, ben } = await annaAndBen(t);
  await startChat(anna, ["ben"]);
  await write(anna, "Hello Ben");
  await shows(anna, "Hello Ben", "delivered");
  await unread(ben, "anna", 1);
  await row(ben, "anna").click();
  await message(ben, "Hello Ben").waitFor();
  await shows(anna, "Hello Ben", "read");
  await unread(ben, "anna", 0);
  await write(ben, "Hello Anna");
  await message(anna, "Hello Anna").waitFor();
  await shows(ben, "Hello Anna", "read");
  assert.deepEqual(await texts(anna), ["Hello Ben", "Hello Anna"]);
  assert.deepEqual(await texts(ben), ["Hello Ben", "Hello Anna"]);
  await picture(anna, "chat");
  faultless(anna, ben);
});

test("two people chat where no socket gets through", async (t) => {
  const { server, browser } = await start(t);
  // One browser has no sockets at all, on the way of the other they are cut.
  const [anna, ben] = [await browser.newContext(), await browser.newContext()];
  await anna.addInitScript(() => delete window.WebSocket);
  await ben.routeWebSocket(/\/v1\/ws$/, (socket) => socket.close());
  const [annas, bens] = [await openWindow(anna, server.url), await openWindow(ben, server.url)];
  await register(annas, "anna");
  await register(bens, "ben");
  await startChat(annas, ["ben"]);
  await write(annas, "Hello Ben");
  await row(bens, "anna").click();
  await message(bens, "Hello Ben").waitFor();
  await shows(annas, "Hello Ben", "read");
  await write(bens, "Hello Anna");
  await shows(bens, "Hello Anna", "read");
  await annas.reload();
  await message(annas, "Hello Anna").waitFor();
  for (const page of [annas, bens]) assert.deepEqual(await texts(page), ["Hello Ben", "Hello Anna"]);
  faultless(annas, bens);
});

test("unread messages are counted where one does not look, newest conversation first", async (t) => {
  const { server, browser, anna, ben } = await annaAndBen(t);
  const cleo = await newcomer(browser, server.url, "cleo");
  await startChat(anna, ["ben"]);
  await write(anna, "from anna");
  await startChat(cleo, ["ben"]);
  for (const text of ["one", "two", "three"]) await write(cleo, text);
  await unread(ben, "cleo", 3);
  await unread(ben, "anna", 1);
  const titles = () => ben.getByTestId("conversation").evaluateAll((rows) => rows.map((row) => row.dataset.title));
  assert.deepEqual(await titles(), ["cleo", "anna"]);
  assert.equal(await ben.title(), "(4) Godwit");
  await write(anna, "again");
  await unread(ben, "anna", 2);
  assert.deepEqual(await titles(), ["anna", "cleo"]);
  await picture(ben, "unread");
  faultless(anna, ben, cleo);
});

test("a plugin swapped between two messages judges the second anew, and says why at the message", async (t) => {
  const { server, anna, ben } = await annaAndBen(t);
  const text = "what a gadzooks day";
  await startChat(anna, ["ben"]);
  await server.installWordfilter({ reject: ["zounds"] });
  await write(anna, text);
  await shows(anna, text, "delivered");
  const swapped = await server.installWordfilter({ reject: ["gadzooks"] });
  await write(anna, text);
  const refused = anna.getByTestId("message").filter({ has: anna.getByTestId("reason") });
  await refused.waitFor();
  assert.equal(await refused.locator("[data-status]").getAttribute("data-status"), "refused");
  assert.match(await refused.getByTestId("reason").textContent(), /^Not sent: \S/);
  assert.ok(swapped.generation > 1, "the second installation is another generation");
  await picture(anna, "refused");

  await refused.getByTestId("edit-refused").click();
  assert.equal(await anna.getByTestId("composer").inputValue(), text);
  await write(anna, "what a fine day");
  await shows(anna, "what a fine day", "delivered");
  await row(ben, "anna").click();
  await message(ben, "what a fine day").waitFor();
  assert.deepEqual(await texts(ben), [text, "what a fine day"], "what was refused reached no one");
  faultless(anna, ben);
});

test("a refused message outlives a reload and is discarded by hand", async (t) => {
  const { server, anna } = await annaAndBen(t);
  await server.installWordfilter({ reject: ["gadzooks"] });
  await startChat(anna, ["ben"]);
  await write(anna, "before");
  await write(anna, "gadzooks");
  await write(anna, "after");
  await anna.getByTestId("reason").waitFor();
  await shows(anna, "after", "delivered");
  const reason = await anna.getByTestId("reason").textContent();
  await anna.reload();
  await anna.getByTestId("reason").waitFor();
  await message(anna, "before").waitFor();
  assert.equal(await anna.getByTestId("reason").textContent(), reason);
  assert.deepEqual(await texts(anna), ["before", "gadzooks", "after"], "it stands where it was written");
  await anna.getByTestId("discard-refused").click();
  await anna.getByTestId("reason").waitFor({ state: "detached" });
  assert.deepEqual(await texts(anna), ["before", "after"]);
  faultless(anna);
});

test("a reload keeps the login, the open conversation, its messages and what is half written", async (t) => {
  const { anna, ben } = await annaAndBen(t);
  await startChat(anna, ["ben"]);
  await write(anna, "first");
  await shows(anna, "first", "delivered");
  await anna.getByTestId("composer").fill("half a thou");
  await anna.reload();
  await message(anna, "first").waitFor();
  assert.equal(await anna.getByTestId("title").textContent(), "ben");
  assert.equal(await anna.getByTestId("composer").inputValue(), "half a thou");
  await shows(anna, "first", "delivered");
  await write(anna, "half a thought");
  await row(ben, "anna").click();
  await message(ben, "half a thought").waitFor();
  faultless(anna, ben);
});

test("what is written while the server is away is sent, once and in order, by the next window", async (t) => {
  const { server, browser } = await start(t);
  const anna = await newcomer(browser, server.url, "anna", { stay: true });
  const ben = await newcomer(browser, server.url, "ben");
  await startChat(anna, ["ben"]);
  await write(anna, "before");
  await shows(anna, "before", "delivered");
  await row(ben, "anna").click();
  await message(ben, "before").waitFor();
  await server.kill();
  await anna.getByTestId("banner").filter({ hasText: "No connection" }).waitFor();
  for (const text of ["one", "two", "three"]) {
    await write(anna, text);
    await shows(anna, text, "waiting");
  }
  await picture(anna, "away");
  const address = anna.url();
  const context = anna.context();
  await anna.close();
  await server.start();
  const next = await openWindow(context, address);
  for (const text of ["one", "two", "three"]) await message(ben, text).waitFor();
  assert.deepEqual(await texts(ben), ["before", "one", "two", "three"]);
  await shows(next, "three", "read");
  assert.deepEqual(await texts(next), ["before", "one", "two", "three"]);
  await next.getByTestId("banner").waitFor({ state: "hidden" });
  faultless(anna, ben, next);
});

test("two windows of one browser are two people, also after a reload", async (t) => {
  const { server, browser } = await start(t);
  const context = await browser.newContext();
  const anna = await openWindow(context, server.url);
  await register(anna, "anna");
  const ben = await openWindow(context, server.url);
  await register(ben, "ben");
  await startChat(anna, ["ben"]);
  await write(anna, "over there?");
  await Promise.all([anna.reload(), ben.reload()]);
  assert.equal(await anna.getByTestId("my-name").textContent(), "anna");
  assert.equal(await ben.getByTestId("my-name").textContent(), "ben");
  await row(ben, "anna").click();
  await message(ben, "over there?").waitFor();
  faultless(anna, ben);
});

test("who stays logged in finds that login in a new window, and can be someone else there", async (t) => {
  const { server, browser } = await start(t);
  const anna = await newcomer(browser, server.url, "anna", { stay: true });
  const other = await openWindow(anna.context(), server.url);
  assert.equal(await other.getByTestId("my-name").textContent(), "anna");
  await other.getByTestId("menu").click();
  await other.getByTestId("another").click();
  await other.getByTestId("login-switch").waitFor();
  await register(other, "ben");
  assert.equal(await other.getByTestId("my-name").textContent(), "ben");
  await startChat(anna, ["ben"]);
  await write(anna, "hello");
  await unread(other, "anna", 1);
  faultless(anna, other);
});

test("a group has a title, shows who wrote, and takes in more people", async (t) => {
  const { server, browser, anna, ben } = await annaAndBen(t);
  const cleo = await newcomer(browser, server.url, "cleo", { display: "Cléo Martin" });
  const dora = await newcomer(browser, server.url, "dora");
  await startChat(anna, ["ben", "cleo"], "Weekend hike");
  await write(anna, "who is in?");
  await row(cleo, "Weekend hike").click();
  await write(cleo, "me!");
  await row(ben, "Weekend hike").click();
  await message(ben, "me!").filter({ hasText: "Cléo Martin" }).waitFor();
  await shows(anna, "who is in?", "read");

  await anna.getByTestId("add-people").click();
  await anna.getByTestId("people-names").fill("nobody-of-that-name");
  await anna.getByTestId("people-ok").click();
  await anna.getByTestId("people-error").filter({ hasText: "nobody-of-that-name" }).waitFor();
  await anna.getByTestId("people-names").fill("dora");
  await anna.getByTestId("people-ok").click();
  await row(dora, "Weekend hike").click();
  await ben.getByTestId("subtitle").filter({ hasText: "dora" }).waitFor();
  await write(ben, "welcome, dora");
  await message(dora, "welcome, dora").waitFor();
  assert.equal((await texts(dora)).at(-1), "welcome, dora");
  await picture(ben, "group");
  faultless(anna, ben, cleo, dora);
});

test("older messages come in while scrolling up, and the place stays", async (t) => {
  const { anna, ben } = await annaAndBen(t);
  await startChat(anna, ["ben"]);
  const all = Array.from({ length: 75 }, (_, n) => `message ${n + 1}`);
  for (const text of all) await write(anna, text);
  await shows(anna, all.at(-1), "delivered");
  await ben.reload();
  await row(ben, "anna").click();
  await message(ben, all.at(-1)).waitFor();
  const loaded = await texts(ben);
  assert.ok(loaded.length < all.length, `${loaded.length} of ${all.length} are loaded`);
  const top = () => message(ben, loaded[0]).evaluate((row) => row.getBoundingClientRect().top);
  const before = await message(ben, loaded[0]).evaluate((row) => {
    document.getElementById("scroll").scrollTop = 100;
    return row.getBoundingClientRect().top;
  });
  await message(ben, all[0]).waitFor({ state: "attached" });
  assert.ok(Math.abs((await top()) - before) < 2, `what was at ${before} is at ${await top()} now`);
  assert.deepEqual(await texts(ben), all);
  await ben.getByTestId("to-end").click();
  await ben.getByTestId("to-end").waitFor({ state: "hidden" });
  faultless(anna, ben);
});

test("on a phone the list and the conversation take turns", async (t) => {
  const { server, browser } = await start(t);
  const anna = await newcomer(browser, server.url, "anna");
  const phone = { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
  const ben = await newcomer(browser, server.url, "ben", { ...phone, colorScheme: "dark" });
  await startChat(anna, ["ben"]);
  await write(anna, "Could you bring the map? The path is not marked beyond the lake.");
  await unread(ben, "anna", 1);
  await picture(ben, "phone-list");
  await row(ben, "anna").tap();
  await ben.getByTestId("message").waitFor();
  assert.ok(!(await ben.getByTestId("list").isVisible()));
  await ben.getByTestId("composer").fill("Of course.");
  await ben.getByTestId("send").tap();
  await shows(ben, "Of course.", "read");
  await picture(ben, "phone-conversation");
  const { width } = await ben.locator("body").evaluate((body) => ({ width: body.scrollWidth }));
  assert.ok(width <= 390, `the page is ${width} wide`);
  await ben.getByTestId("back").tap();
  await ben.getByTestId("list").waitFor();
  assert.ok(!(await ben.getByTestId("composer").isVisible()));
  faultless(anna, ben);
});

test("wrong passwords and taken names are told, and logging out ends the session", async (t) => {
  const { server, browser } = await start(t);
  const anna = await newcomer(browser, server.url, "anna");
  await anna.getByTestId("menu").click();
  await anna.getByTestId("logout").click();
  await anna.getByTestId("login").waitFor();
  await enter(anna, "anna", { password: "wrong horse" });
  assert.match(await anna.getByTestId("login-error").textContent(), /\S/);
  await enter(anna, "anna");
  assert.equal(await anna.getByTestId("my-name").textContent(), "anna");
  const other = await openWindow(await browser.newContext(), server.url);
  await register(other, "anna");
  assert.match(await other.getByTestId("login-error").textContent(), /anna/);
});
