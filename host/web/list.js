// The list of conversations: newest first, with what was said last and how much of it is unread.

import { byId, element, icon, reconcile } from "./dom.js";
import { hueOf, initialsOf, nameOf, titleOf, when } from "./words.js";

/** Draws the list; `open` is the id of the conversation that is open. */
export function drawList(client, open) {
  const { list, user } = client;
  byId("list-empty").hidden = list.length > 0 || client.state !== "connected";
  byId("list-more").hidden = !client.hasMoreConversations;
  reconcile(byId("list"), list, {
    key: ({ id }) => id,
    show: (conversation) => {
      const { id, kind, unread, last_message: last, peer, updated_at } = conversation;
      const own = last?.sender === user.id;
      const sender = own ? "You" : kind === "direct" ? "" : nameOf(last && client.person(last.sender));
      return {
        id,
        title: titleOf(conversation, user),
        hue: hueOf(peer?.id ?? id),
        text: last ? `${sender && `${sender}: `}${last.deleted ? "deleted" : last.body}` : "No messages yet",
        status: last && own ? client.status(last) : null,
        time: when(updated_at),
        unread,
        current: id === open,
        refused: client.outbox.some((entry) => entry.conversation === id && entry.state === "refused"),
      };
    },
    draw,
  });
}

function draw(row, { id, title, hue, text, status, time, unread, current, refused }) {
  const count = unread > 0 ? element("span", { className: "badge", data: { testid: "unread" } }, unread > 99 ? "99+" : String(unread)) : "";
  if (count) count.setAttribute("aria-label", `${unread} unread`);
  const link = element(
    "a",
    { href: `#${id}`, className: "list-row", data: { testid: "conversation", title } },
    element("span", { className: "avatar", data: { hue }, aria: { hidden: "true" } }, initialsOf(title)),
    element("span", { className: "list-title" }, title),
    element("time", { className: "list-time" }, time),
    element("span", { className: "list-text" }, status ? statusIcon(status) : "", text),
    element("span", { className: "list-marks" }, refused ? statusIcon("refused") : "", count),
  );
  if (current) link.setAttribute("aria-current", "true");
  row.append(link);
}

const LABELS = { waiting: "Waiting to be sent", held: "On hold", sent: "Sent", delivered: "Delivered", read: "Read", refused: "Refused" };
const ICONS = { read: "delivered", held: "waiting" };

/** The sign for what became of an own message. */
export function statusIcon(status) {
  const svg = icon(ICONS[status] ?? status);
  svg.classList.add("status");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", LABELS[status]);
  svg.dataset.testid = "status";
  svg.dataset.status = status;
  return svg;
}
