"""Judges what other people will read: one word is not for here."""

import config
from wit_world.exports import moderation
from wit_world.imports import log, types


class Moderation:
    def review(self, scene: types.Scene, subject: moderation.Subject) -> moderation.Verdict:
        if config.word not in _text(subject).lower():
            return moderation.Verdict_Allow()
        log.log(log.Level.INFO, f"refused something of {scene.sender.name}")
        text = f'Please write about "{config.word}" elsewhere.'
        return moderation.Verdict_Reject(types.Reason(code="not-here", text=text))


def _text(subject: moderation.Subject) -> str:
    """What people will read, whatever it is."""
    match subject:
        case moderation.Subject_Message(content):
            return content.body
        case moderation.Subject_Edit(edit):
            return edit.content.body
        case _:
            return subject.value
