"""Names who gets a message live and who is notified: large conversations stay quiet."""

from typing import Optional

from wit_world.exports import fan_out
from wit_world.imports import types

LARGE = 50
"""Members above which a conversation is large."""


class FanOut:
    def choose(
        self, scene: types.Scene, message: types.Message, facts: fan_out.Facts
    ) -> Optional[fan_out.Audience]:
        if facts.member_count <= LARGE:
            return None
        return fan_out.Audience(live=fan_out.Live_Followers(), notified=fan_out.Notified_Mentioned())
