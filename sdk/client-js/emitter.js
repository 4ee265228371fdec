// Events by name. A listener that throws is reported and costs the others nothing.

/** What `Client` tells its users through. */
export class Emitter {
  #listeners = new Map();

  /**
   * Calls `listener` with each event of that name.
   * @param {string} name
   * @param {(detail: any) => void} listener
   * @returns {() => void} Ends it.
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Tells all listeners of `name`, in the order in which they came. */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        // Thrown outside the loop that works off a frame: the platform reports it, the next push is handled.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
