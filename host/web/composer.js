// The field in which people write: drafts that outlive a reload, the host's limit, Enter to send.

import { byId } from "./dom.js";

// The limit is shown from this share of it on.
const SHOWN_FROM = 0.8;

/** The field under the open conversation. */
export class Composer {
  #field = byId("composer-text");
  #form = byId("composer");
  #drafts;
  #limit;
  #conversation = null;

  /**
   * @param {object} options
   * @param {import("/sdk/index.js").Storage} options.drafts
   * @param {() => number} options.limit How many bytes a message may have.
   * @param {(text: string) => void} options.onSend
   */
  constructor({ drafts, limit, onSend }) {
    this.#drafts = drafts;
    this.#limit = limit;
    this.#field.addEventListener("input", () => this.#changed());
    this.#field.addEventListener("keydown", (event) => {
      // While an input method composes, Enter is its own.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#field.value.trim();
      if (text === "" || this.#bytes() > this.#limit()) return;
      onSend(text);
      this.#set("");
      this.#field.focus();
    });
  }

  /** Shows the draft of another conversation. */
  open(id) {
    this.#conversation = id;
    this.#field.value = this.#drafts.get(id) ?? "";
    this.#changed();
    // On a phone the keyboard would cover what one came to read.
    if (matchMedia("(hover: hover)").matches) this.#field.focus();
  }

  /** Puts a text in front of what is being written, to be changed. */
  edit(text) {
    this.#set([text, this.#field.value].filter(Boolean).join("\n"));
    this.#field.focus();
  }

  #set(text) {
    this.#field.value = text;
    this.#changed();
  }

  #bytes() {
    return new TextEncoder().encode(this.#field.value.trim()).length;
  }

  #changed() {
    const text = this.#field.value;
    if (text) this.#drafts.set(this.#conversation, text);
    else this.#drafts.remove(this.#conversation);
    const [bytes, limit] = [this.#bytes(), this.#limit()];
    const over = bytes > limit;
    const count = byId("composer-count");
    count.textContent = bytes < limit * SHOWN_FROM ? "" : over ? `${bytes - limit} bytes too long` : `${limit - bytes} bytes left`;
    count.classList.toggle("over", over);
    this.#field.setAttribute("aria-invalid", String(over));
    this.#form.querySelector("button").disabled = over || text.trim() === "";
  }
}
