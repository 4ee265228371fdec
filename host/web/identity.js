// Who uses this window. A login lives in the window (it outlives a reload, not the window), so that two windows can be two
// people; who asks to stay logged in has it kept in the browser, where every window that has none of its own finds it.

import { Auth, webStorage } from "/sdk/index.js";

const PREFIX = "godwit/";
const APART = `${PREFIX}apart`;
const server = location.origin;

const ofWindow = new Auth({ server, storage: webStorage(sessionStorage, PREFIX) });
const ofBrowser = new Auth({ server, storage: webStorage(localStorage, PREFIX) });

/** The login that this window uses, or `null`. */
export function currentLogin() {
  if (ofWindow.user) return ofWindow;
  return ofBrowser.user && !sessionStorage.getItem(APART) ? ofBrowser : null;
}

/** Logs in, or makes the account first. */
export async function enter({ register, stay, ...credentials }) {
  const auth = stay ? ofBrowser : ofWindow;
  await (register ? auth.register(credentials) : auth.login(credentials));
  if (stay) sessionStorage.removeItem(APART);
  return auth;
}

/** Lets this window be someone else, without logging anyone out elsewhere. */
export async function stepAside(auth) {
  if (auth === ofWindow) await auth.logout();
  sessionStorage.setItem(APART, "1");
}

/** Where a person's unsent messages are kept: in the browser, so that closing the window loses none. */
export const outboxOf = (user) => webStorage(localStorage, `${PREFIX}${user.id}/`);

/** Where a person's half-written texts are kept: in the window, so that two windows do not write over each other. */
export const draftsOf = (user) => webStorage(sessionStorage, `${PREFIX}${user.id}/draft/`);
