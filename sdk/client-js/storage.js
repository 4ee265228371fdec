// Where a client keeps what must outlive it: four synchronous functions over strings. Synchronous, so that a message is
// kept before `send` returns. Anything with the same four functions serves as well.

/** Keeps things for as long as the process lives. */
export function memoryStorage() {
  const map = new Map();
  return {
    get: (key) => map.get(key) ?? null,
    set: (key, value) => void map.set(key, value),
    remove: (key) => void map.delete(key),
    keys: () => [...map.keys()],
  };
}

/**
 * Keeps things in the browser's `localStorage` or `sessionStorage`, under keys that begin with `prefix`.
 * @param {Storage} storage
 * @param {string} prefix
 */
export function webStorage(storage, prefix) {
  return {
    get: (key) => storage.getItem(prefix + key),
    set: (key, value) => storage.setItem(prefix + key, value),
    remove: (key) => storage.removeItem(prefix + key),
    keys: () =>
      Array.from({ length: storage.length }, (_, i) => storage.key(i))
        .filter((key) => key.startsWith(prefix))
        .map((key) => key.slice(prefix.length)),
  };
}
