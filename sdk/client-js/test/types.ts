// Compiled, never run: the quick start of the README as TypeScript sees it, so that the declarations cannot rot.

import { WebSocket } from "ws";
import { Auth, Client, RequestError, memoryStorage, type Message } from "../index.js";

const auth = new Auth({ server: "https://chat.example.com", storage: memoryStorage() });
const client = new Client({ server: "https://chat.example.com", auth, WebSocket, transport: "auto" });

client.on("message", ({ conversation, sender, body }) => {
  if (sender !== client.user?.id) void client.send({ conversation, body: `you said: ${body}` });
});
client.on("refused", ({ body, error }) => console.log(body, error?.message));
client.on("push:typing", (value) => console.log(value));
client.on("presence", ({ user, online, last_seen }) => console.log(user, online, last_seen ?? "unknown"));
client.on("typing", (conversation) => console.log(client.typists(conversation)));
client.watch(["b7e2…"]);
void client.setProfile({ display_name: null, privacy: { receipts: false } });
// @ts-expect-error There is no event of that name.
client.on("massage", () => {});

await auth.login({ name: "echo", password: "correct horse" });
client.start();

const message: Message = await client.send({ to: "b7e2…", body: "hello" });
const status: "sent" | "delivered" | "read" = client.status(message);
for (const { name, arguments: takes } of await client.commands(message.conversation)) console.log(name, takes[0]?.type);
const reply = await client.command({ conversation: message.conversation, name: "remind", arguments: { in: 60_000 } });
console.log(reply?.body);
console.log(status, await client.findUser("anna").catch((error: RequestError) => error.retryAfterMs));
