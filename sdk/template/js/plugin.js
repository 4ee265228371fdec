// {{name}}: what this module exports is what the host calls.
export { lifecycle } from "./config.js";
{{of_hooks}}
