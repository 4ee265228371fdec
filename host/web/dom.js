// Small helpers over the page's own objects. They know nothing of chats.

/** The element of that id; the page's HTML holds every one that is asked for. */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element. Text stays text, whatever it says.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] Properties of the element; `data` and `aria` hold attributes.
 * @param {...(Node | string)} children
 */
export function element(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  made.append(...children);
  return made;
}

/** One of the icons that stand at the top of the page's HTML. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

const shown = new WeakMap();

/**
 * Makes the children of `parent` be the rows of `items`, in order. A row is kept while its key is there, and drawn again
 * only where what it shows changed, so that focus, selection and scrolling stay.
 * @param {Element} parent
 * @param {object[]} items
 * @param {{key: (item: object) => string, show: (item: object) => object, draw: (row: Element, view: object) => void}} how
 *   `show` says all that a row shows, as plain data; `draw` puts it into an empty `<li>`.
 */
export function reconcile(parent, items, { key, show, draw }) {
  const keys = items.map(key);
  const wanted = new Set(keys);
  const rows = new Map();
  for (const row of [...parent.children]) {
    if (wanted.has(row.dataset.key)) rows.set(row.dataset.key, row);
    else row.remove();
  }
  let place = parent.firstElementChild;
  items.forEach((item, index) => {
    const row = rows.get(keys[index]) ?? element("li", { data: { key: keys[index] } });
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
    const view = show(item);
    const text = JSON.stringify(view);
    if (shown.get(row) === text) return;
    shown.set(row, text);
    row.replaceChildren();
    draw(row, view);
  });
}

/** Calls `draw` once before the next frame, however often it is asked to. */
export function eachFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}
