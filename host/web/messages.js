// The messages of the open conversation: drawing them, scrolling, loading older ones, noticing that they are seen.

import { byId, eachFrame, element, reconcile } from "./dom.js";
import { statusIcon } from "./list.js";
import { clock, day, nameOf, splitLinks } from "./words.js";

// Messages of one person within this time stand together.
const TOGETHER_MS = 300_000;
// This close to the end counts as being there, this close to the beginning asks for more; in pixels.
const NEAR_END = 80;
const NEAR_START = 400;

/** The view of one conversation's messages. */
export class Messages {
  #client;
  #onEdit;
  #scroll = byId("scroll");
  #list = byId("messages");
  #conversation = null;
  #readBefore = 0;
  #following = true;
  #loading = false;

  /** Draws before the next frame. */
  draw = eachFrame(() => this.#draw());

  /**
   * @param {import("/sdk/index.js").Client} client
   * @param {{onEdit: (text: string) => void}} options Called with a refused text that is to be written anew.
   */
  constructor(client, { onEdit }) {
    this.#client = client;
    this.#onEdit = onEdit;
    this.#scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    byId("to-end").addEventListener("click", () => this.#toEnd("smooth"));
    for (const name of ["focus", "resize"]) addEventListener(name, this.draw);
    document.addEventListener("visibilitychange", this.draw);
  }

  /** Shows another conversation, or none. */
  open(id) {
    this.#conversation = id;
    this.#readBefore = this.#client.conversations.get(id)?.read_seq ?? 0;
    this.#following = true;
    this.#list.replaceChildren();
    this.draw();
  }

  /** Goes to the end with the next drawing: someone wrote. */
  follow() {
    this.#following = true;
    this.draw();
  }

  #draw() {
    const id = this.#conversation;
    if (!id || !this.#client.conversations.has(id)) return;
    const anchor = this.#list.querySelector(".message");
    const before = anchor?.offsetTop;
    reconcile(this.#list, this.#rows(id), { key: ({ key }) => key, show: (row) => row, draw: (row, view) => this.#drawRow(row, view) });
    if (this.#following) this.#toEnd();
    // What was added above must not move what is being read.
    else if (anchor?.isConnected) this.#scroll.scrollTop += anchor.offsetTop - before;
    byId("to-end").hidden = this.#following;
    this.#seen(id);
    this.#loadOlder(id);
  }

  #rows(id) {
    const { user, conversations } = this.#client;
    const group = conversations.get(id).kind !== "direct";
    const rows = [];
    let before = null;
    for (const message of placed(this.#client.messages(id), this.#client.outbox, id, user.id)) {
      const at = message.sent_at ?? message.at;
      const today = day(at);
      if (!before || today !== day(before.sent_at ?? before.at)) rows.push({ key: `day ${today}`, line: today });
      const own = message.state !== undefined || message.sender === user.id;
      if (!own && message.seq > this.#readBefore && !(before?.seq > this.#readBefore)) rows.push({ key: "new", line: "New messages", fresh: true });
      const sender = own ? user.id : message.sender;
      const together = before !== null && sender === (before.sender ?? user.id) && at - (before.sent_at ?? before.at) < TOGETHER_MS;
      const first = !together || ["day", "new"].includes(rows.at(-1).key.split(" ")[0]);
      rows.push({
        // The same row while it waits and once it has a number.
        key: message.client_id ?? String(message.seq),
        id: message.client_id,
        body: message.body,
        deleted: message.deleted ?? false,
        edited: message.edited_at !== undefined && message.edited_at !== null,
        reactions: Object.entries(message.reactions ?? {}),
        time: clock(at),
        own,
        first,
        name: group && !own && first ? nameOf(this.#client.person(sender)) : null,
        status: own ? statusOf(message, this.#client) : null,
        reason: message.error?.message ?? message.held?.reason ?? null,
      });
      before = message;
    }
    return rows;
  }

  #drawRow(row, { line, fresh, id, body, deleted, edited, reactions, time, own, first, name, status, reason }) {
    if (line) {
      row.className = fresh ? "line fresh" : "line";
      row.append(element("span", {}, line));
      return;
    }
    row.className = ["message", own && "own", first && "first", status === "refused" && "refused"].filter(Boolean).join(" ");
    row.dataset.testid = "message";
    const content = deleted ? ["This message was deleted"] : links(body);
    const text = element("p", { className: deleted ? "body deleted" : "body", dir: "auto", data: { testid: "body" } }, ...content);
    const meta = element("span", { className: "meta" }, edited ? "edited " : "", element("time", {}, time), status ? statusIcon(status) : "");
    const bubble = element("div", { className: "bubble" }, name ? element("p", { className: "sender" }, name) : "", text, meta);
    row.append(bubble);
    if (reactions.length > 0) {
      const each = reactions.map(([emoji, count]) => element("span", {}, count > 1 ? `${emoji} ${count}` : emoji));
      row.append(element("p", { className: "reactions", data: { testid: "reactions" } }, ...each));
    }
    if (status === "refused") row.append(this.#refusal(id, body, reason));
    if (status === "held") row.append(hold(reason));
  }

  #refusal(id, body, reason) {
    const edit = element("button", { type: "button", className: "link", data: { testid: "edit-refused" } }, "Edit and send again");
    const discard = element("button", { type: "button", className: "link", data: { testid: "discard-refused" } }, "Discard");
    edit.addEventListener("click", () => {
      if (this.#client.discard(id)) this.#onEdit(body);
    });
    discard.addEventListener("click", () => this.#client.discard(id));
    const text = element("p", { data: { testid: "reason" } }, "Not sent: ", reason);
    return element("div", { className: "refusal", role: "alert" }, text, edit, discard);
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_END;
    byId("to-end").hidden = this.#following;
    if (!this.#conversation) return;
    this.#seen(this.#conversation);
    this.#loadOlder(this.#conversation);
  }

  #toEnd(behavior = "instant") {
    this.#scroll.scrollTo({ top: this.#scroll.scrollHeight, behavior });
  }

  // Seen is what a person who looks at this window has in front of them.
  #seen(id) {
    if (!this.#following || document.visibilityState !== "visible" || !document.hasFocus()) return;
    const { unread } = this.#client.conversations.get(id) ?? {};
    if (unread > 0) this.#client.read(id);
  }

  async #loadOlder(id) {
    if (this.#loading || this.#scroll.scrollTop > NEAR_START || this.#client.isComplete(id)) return;
    this.#loading = true;
    byId("loading").hidden = false;
    try {
      await this.#client.older(id);
    } catch (error) {
      // Without a connection there is no history; once there is one again, this is drawn again and asks again.
      if (!error.temporary) throw error;
    } finally {
      this.#loading = false;
      byId("loading").hidden = true;
    }
  }
}

function statusOf(message, client) {
  if (!message.state) return client.status(message);
  return ["refused", "held"].includes(message.state) ? message.state : "waiting";
}

// Messages and what is in the outbox, in one order: what waits comes last; what was refused or is held stands where it was written.
function placed(messages, outbox, id, me) {
  // A message that was released comes before the verdict that takes it out of the outbox.
  const released = ({ client_id, state }) => state === "held" && messages.some((message) => message.client_id === client_id);
  const entries = outbox.filter((entry) => entry.conversation === id && !released(entry));
  const rows = [...messages];
  for (const entry of entries) {
    if (!["refused", "held"].includes(entry.state)) continue;
    const before = ({ seq, client_id, sender, state }) =>
      seq <= entry.seen_seq || ((state || sender === me) && client_id < entry.client_id);
    rows.splice(rows.findLastIndex(before) + 1, 0, entry);
  }
  return [...rows, ...entries.filter(({ state }) => !["refused", "held"].includes(state))];
}

function hold(reason) {
  return element("div", { className: "refusal hold", role: "status" }, element("p", { data: { testid: "held" } }, "On hold: ", reason));
}

function links(text) {
  const link = (address) => element("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, address);
  return splitLinks(text).map((part, index) => (index % 2 ? link(part) : part));
}
