// The dialog in which people are named: for a new chat, or to bring them into a group.

import { byId } from "./dom.js";
import { problem } from "./words.js";

/**
 * Asks for people and does something with them; stays open with the reason while that fails.
 * @param {import("/sdk/index.js").Client} client
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.action What the button says.
 * @param {boolean} options.grouping Whether several people make a group, which has a title.
 * @param {(users: object[], title: string) => Promise<void>} options.perform
 */
export function askForPeople(client, { title, action, grouping, perform }) {
  const dialog = byId("people");
  const form = byId("people-form");
  const names = byId("people-names");
  const error = byId("people-error");
  const button = form.querySelector("button.primary");
  const parse = () => [...new Set(names.value.toLowerCase().split(/[\s,;]+/).map((name) => name.replace(/^@/, "")).filter(Boolean))];
  const draw = () => {
    byId("people-group").hidden = !grouping || parse().length < 2;
  };
  form.reset();
  error.textContent = "";
  byId("people-title").textContent = title;
  byId("people-hint").hidden = !grouping;
  button.textContent = action;
  draw();
  names.oninput = draw;
  byId("people-cancel").onclick = () => dialog.close();
  form.onsubmit = async (event) => {
    event.preventDefault();
    error.textContent = "";
    button.disabled = true;
    try {
      const users = await find(client, parse());
      await perform(users, byId("people-group-title").value.trim());
      dialog.close();
    } catch (failure) {
      error.textContent = problem(failure);
      names.focus();
    } finally {
      button.disabled = false;
    }
  };
  dialog.showModal();
  names.focus();
}

async function find(client, names) {
  if (names.length === 0) throw new Error("write the name of at least one person");
  const users = await Promise.all(names.map((name) => client.findUser(name)));
  const missing = names.filter((_, index) => !users[index]);
  if (missing.length > 0) throw new Error(`nobody here is called ${missing.join(", ")}`);
  return users;
}
