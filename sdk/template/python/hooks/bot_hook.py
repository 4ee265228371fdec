"""Hears events: whoever mentions the plugin's user is answered."""

from wit_world.exports import bot
from wit_world.imports import chat, types


class Bot:
    def on_event(self, event: bot.Event) -> None:
        if not isinstance(event.what, bot.What_Mentioned):
            return
        message = event.what.value.message
        chat.send(chat.Target_Conversation(message.conversation), _text(f"You said: {message.content.body}"))


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
