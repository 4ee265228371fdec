// The chat of one person: a client of the library, and the views that show it. The address's hash names the conversation
// that is open, so that reloading and going back do what people expect.

import { Client } from "/sdk/index.js";
import { Composer } from "./composer.js";
import { byId, eachFrame } from "./dom.js";
import { draftsOf, outboxOf, stepAside } from "./identity.js";
import { drawList } from "./list.js";
import { Messages } from "./messages.js";
import { askForPeople } from "./people.js";
import { hueOf, initialsOf, nameOf, problem, titleOf } from "./words.js";

/**
 * Runs until this person leaves.
 * @param {import("/sdk/index.js").Auth} auth
 * @returns {Promise<string>} What the next one at this window shall be told, if anything.
 */
export function startChat(auth) {
  const { user } = auth;
  const client = new Client({
    server: location.origin,
    auth,
    storage: outboxOf(user),
    device: { name: "Web", platform: "web" },
  });
  const messages = new Messages(client, { onEdit: (text) => composer.edit(text) });
  const composer = new Composer({
    drafts: draftsOf(user),
    limit: () => client.hello?.max_body_bytes ?? Infinity,
    onSend: (body) => {
      client.send({ conversation: openId(), body });
      messages.follow();
    },
  });
  let shownId = null;

  const draw = eachFrame(() => {
    if (!client.user) return;
    const open = client.conversations.has(openId()) ? openId() : null;
    drawList(client, open);
    drawTitle(client);
    document.body.classList.toggle("in-conversation", open !== null);
    byId("conversation").hidden = open === null;
    byId("nothing").hidden = open !== null;
    if (open) drawHeader(client, client.conversations.get(open));
    if (open === shownId) return;
    if (shownId) client.unfollow(shownId);
    if (open) client.follow(open);
    shownId = open;
    messages.open(open);
    if (open) composer.open(open);
  });

  for (const event of ["conversation", "user", "reset", "outbox", "receipt"]) client.on(event, draw);
  for (const event of ["timeline", "outbox", "conversation", "receipt", "user"]) client.on(event, messages.draw);
  client.on("message", (message) => {
    if (message.conversation === shownId && message.sender !== user.id) speak(client, message);
  });
  // The address may name one that is older than those known; whether it may be seen is the host's to say.
  const lookUp = () => openId() && client.conversation(openId()).catch(() => {});
  addEventListener("hashchange", draw);
  addEventListener("hashchange", lookUp);
  addEventListener("online", () => client.wake());
  const look = () => client.setActive(document.visibilityState === "visible");
  look();
  document.addEventListener("visibilitychange", () => {
    look();
    if (document.visibilityState === "visible") client.wake();
  });

  drawMe(user);
  const start = () => newChat(client);
  byId("new-chat").addEventListener("click", start);
  byId("first-chat").addEventListener("click", start);
  byId("add-people").addEventListener("click", () => addPeople(client, openId()));
  byId("list-more").addEventListener("click", () => client.moreConversations().then(draw, draw));
  byId("back").addEventListener("click", () => {
    location.hash = "";
  });
  closeMenuOutside();
  byId("chat").hidden = false;

  return new Promise((leave) => {
    byId("logout").addEventListener("click", async () => {
      client.stop();
      // Where the host cannot be reached the login is forgotten here all the same.
      await auth.logout().catch(() => {});
      leave("");
    });
    byId("another").addEventListener("click", async () => {
      client.stop();
      await stepAside(auth).catch(() => {});
      leave("");
    });
    client.on("state", (change) => {
      if (change.state === "stopped" && ended(change)) return auth.logout().catch(() => {}).then(() => leave("You have been logged out."));
      if (change.state === "connected") lookUp();
      drawBanner(change);
      draw();
      messages.draw();
    });
    byId("banner-retry").addEventListener("click", () => (client.state === "stopped" ? client.start() : client.wake()));
    client.start();
  });
}

const openId = () => location.hash.slice(1);

// The login is over, as opposed to a connection that the host will not have.
const ended = ({ code, error }) => code === 3500 || code === 3504 || error?.code === "unauthorised";

function drawMe(user) {
  byId("my-name").textContent = nameOf(user);
  byId("my-name").title = `@${user.name}`;
  byId("me").textContent = initialsOf(nameOf(user));
  byId("me").dataset.hue = hueOf(user.id);
}

function drawTitle(client) {
  const unread = client.list.reduce((sum, conversation) => sum + conversation.unread, 0);
  document.title = unread > 0 ? `(${unread}) Godwit` : "Godwit";
}

// The list of messages is no live region: older ones that are loaded above would be read out as well.
function speak(client, { sender, body }) {
  byId("spoken").textContent = `${nameOf(client.person(sender))}: ${body}`;
}

function drawHeader(client, conversation) {
  const { id, kind, peer, members, member_count, role } = conversation;
  const title = titleOf(conversation, client.user);
  const names = (members ?? []).map((member) => nameOf(client.person(member)));
  byId("conversation-title").textContent = title;
  byId("conversation-subtitle").textContent = kind === "direct" ? `@${peer.name}` : names.join(", ") || `${member_count} members`;
  byId("conversation-avatar").textContent = initialsOf(title);
  byId("conversation-avatar").dataset.hue = hueOf(peer?.id ?? id);
  byId("add-people").hidden = kind === "direct" || !["admin", "owner"].includes(role);
}

function drawBanner({ state, code, error }) {
  const banner = byId("banner");
  banner.hidden = state === "connected" || state === "idle";
  banner.dataset.state = state;
  byId("banner-retry").hidden = state === "connecting";
  const reason = error ? problem(error) : `The server closed the connection (${code}).`;
  byId("banner-text").textContent =
    state === "stopped" ? reason : state === "waiting" ? "No connection. What you write is sent as soon as there is one." : "Connecting …";
}

function newChat(client) {
  askForPeople(client, {
    title: "New chat",
    action: "Start",
    grouping: true,
    perform: async (users, title) => {
      if (users.length > 1 && !title) throw new Error("a group needs a title");
      const members = users.map(({ id }) => id);
      const { id } = users.length > 1 ? await client.createGroup({ title, members }) : await client.direct(members[0]);
      location.hash = id;
    },
  });
}

function addPeople(client, conversation) {
  askForPeople(client, {
    title: "Add people",
    action: "Add",
    grouping: false,
    perform: (users) => client.invite(conversation, users.map(({ id }) => id)),
  });
}

function closeMenuOutside() {
  const menu = byId("menu");
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") menu.open = false;
  });
}
