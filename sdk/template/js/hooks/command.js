// Serves slash commands: `/hello` greets.

/** @type {import("godwit:plugin/command@0.1.0").Command} */
export const command = {
  commands() {
    const name = { name: "name", kind: /** @type {const} */ ("text"), required: false, help: "Whom to greet.", choices: [] };
    return [{ name: "hello", help: "Greets.", arguments: [name] }];
  },
  run(invocation) {
    const given = invocation.arguments.find(({ name }) => name === "name")?.value;
    const name = given?.tag === "text" ? given.val : "everyone";
    return {
      tag: "to-caller",
      val: { kind: "text", body: `Hello, ${name}!`, attachments: [], mentions: [] },
    };
  },
};
