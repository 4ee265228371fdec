// The form through which people come in: log in, or make an account.

import { byId } from "./dom.js";
import { enter } from "./identity.js";
import { problem } from "./words.js";

/**
 * Shows the form until someone is logged in.
 * @param {string} [notice] Why they are asked.
 * @returns {Promise<import("/sdk/index.js").Auth>}
 */
export function welcome(notice = "") {
  byId("welcome").hidden = false;
  byId("login-notice").textContent = notice;
  byId("login-notice").hidden = !notice;
  const form = byId("login");
  let registering = false;
  const draw = () => {
    byId("login-title").textContent = registering ? "Create an account" : "Welcome to Godwit";
    byId("login-display").hidden = !registering;
    byId("login-question").textContent = registering ? "Have one already?" : "New here?";
    byId("login-switch").textContent = registering ? "Log in" : "Create an account";
    byId("login-password").autocomplete = registering ? "new-password" : "current-password";
    form.querySelector("button.primary").textContent = registering ? "Create account" : "Log in";
    byId("login-error").textContent = "";
  };
  byId("login-switch").onclick = () => {
    registering = !registering;
    draw();
    byId("login-name").focus();
  };
  draw();
  byId("login-name").focus();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const { name, password, displayName, stay } = Object.fromEntries(new FormData(form));
      const button = form.querySelector("button.primary");
      byId("login-error").textContent = "";
      button.disabled = true;
      try {
        const account = { name: name.trim().toLowerCase(), password, displayName: displayName?.trim() };
        const auth = await enter({ register: registering, stay: stay === "on", ...account });
        form.reset();
        byId("welcome").hidden = true;
        resolve(auth);
      } catch (error) {
        byId("login-error").textContent = problem(error);
        byId(error.field === "password" ? "login-password" : "login-name").focus();
      } finally {
        button.disabled = false;
      }
    };
  });
}
