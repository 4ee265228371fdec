"""Serves slash commands: `/hello` greets."""

from wit_world.exports import command
from wit_world.imports import types


class Command:
    def commands(self) -> list[command.CommandSpec]:
        name = command.Argument(
            name="name", kind=command.ArgumentKind.TEXT, required=False, help="Whom to greet.", choices=[]
        )
        return [command.CommandSpec(name="hello", help="Greets.", arguments=[name])]

    def run(self, invocation: command.Invocation) -> command.Reply:
        given = {given.name: given.value.value for given in invocation.arguments}
        return command.Reply_ToCaller(_text(f"Hello, {given.get('name', 'everyone')}!"))


def _text(body: str) -> types.Content:
    return types.Content(
        kind=types.ContentKind.TEXT,
        body=body,
        attachments=[],
        reply_to=None,
        thread=None,
        mentions=[],
        expires_in_s=None,
    )
