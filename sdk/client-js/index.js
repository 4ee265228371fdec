// The way into the library: everything public is here, everything else is its own business.

export { Auth } from "./auth.js";
export { Client } from "./client.js";
export { RequestError } from "./errors.js";
export { clientId } from "./id.js";
export { memoryStorage, webStorage } from "./storage.js";
