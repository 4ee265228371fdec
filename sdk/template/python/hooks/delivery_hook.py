"""Says with what attention a message reaches people: bots do not ring."""

from wit_world.exports import delivery
from wit_world.imports import types


class Delivery:
    # One answer for each recipient, in their order.
    def decide(
        self, scene: types.Scene, message: types.Message, recipients: list[delivery.Recipient]
    ) -> list[delivery.Attention]:
        def attention(recipient):
            quiet = scene.sender.bot and not recipient.mentioned
            return delivery.Attention_Quiet() if quiet else delivery.Attention_Normal()

        return [attention(recipient) for recipient in recipients]
