// People at their browsers: opening windows and doing with them what people do.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const RESULTS = fileURLToPath(new URL("results/", import.meta.url));
const PASSWORD = "correct horse";
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
// The browser's own words for a server that is away: tests that take it away expect them.
const AWAY = /WebSocket connection to .* failed|net::ERR_/;

/** A browser that closes with the test. */
export async function openBrowser(t) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
  t.after(() => browser.close());
  return browser;
}

/** A window in which nothing may go wrong unnoticed: what its console says against it fails the test. */
export async function openWindow(context, url) {
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.stack));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !AWAY.test(message.text())) problems.push(message.text());
  });
  page.problems = problems;
  await page.goto(url);
  return page;
}

/** Someone at a browser of their own, with a new account. */
export async function newcomer(browser, url, name, { display, stay = false, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
  const page = await openWindow(context, url);
  await register(page, name, { display, stay });
  return page;
}

export async function register(page, name, { display = "", stay = false } = {}) {
  await page.getByTestId("login-switch").click();
  await page.getByTestId("display-name").fill(display);
  await enter(page, name, { stay });
}

export async function enter(page, name, { stay = false, password = PASSWORD } = {}) {
  await page.getByTestId("name").fill(name);
  await page.getByTestId("password").fill(password);
  await page.getByTestId("stay").setChecked(stay);
  await page.getByTestId("login").click();
  await page.getByTestId("my-name").or(page.getByTestId("login-error").filter({ hasText: /./ })).first().waitFor();
}

/** Starts a chat with those of these names; several make a group of that title. */
export async function startChat(page, names, title = "") {
  await page.getByTestId("new-chat").click();
  await page.getByTestId("people-names").fill(names.join(" "));
  if (title) await page.getByTestId("group-title").fill(title);
  await page.getByTestId("people-ok").click();
  await page.getByTestId("composer").waitFor();
}

export async function write(page, text) {
  await page.getByTestId("composer").fill(text);
  await page.getByTestId("composer").press("Enter");
}

/** The message that says this. */
export const message = (page, text) => page.getByTestId("message").filter({ has: page.getByText(text, { exact: true }) });

/** Waits until the message that says this shows that sign: `waiting`, `sent`, `delivered`, `read` or `refused`. */
export const shows = (page, text, status) => message(page, text).locator(`[data-status="${status}"]`).waitFor();

/** The row of the list that is called so. */
export const row = (page, title) => page.getByTestId("list").locator(`[data-title="${title}"]`);

/** Waits until the list counts so many as unread there. */
export async function unread(page, title, count) {
  const badge = row(page, title).getByTestId("unread");
  if (count === 0) await badge.waitFor({ state: "detached" });
  else await badge.filter({ hasText: new RegExp(`^${count}$`) }).waitFor();
}

/** What all messages say, from above to below. */
export const texts = (page) => page.getByTestId("body").allTextContents();

/** Keeps a picture for who wants to see what the test saw. */
export async function picture(page, name) {
  await mkdir(RESULTS, { recursive: true });
  await page.screenshot({ path: `${RESULTS}${name}.png` });
}
