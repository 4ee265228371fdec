import unittest

import godwit_testing as testing
from delivery_hook import Delivery
from wit_world.exports import delivery


class Deciding(unittest.TestCase):
    def test_a_bot_is_quiet_unless_it_mentions(self):
        people = [testing.recipient("ben"), testing.recipient("cem", mentioned=True)]
        decided = Delivery().decide(testing.scene(bot=True), testing.stored("hello"), people)
        self.assertEqual(decided, [delivery.Attention_Quiet(), delivery.Attention_Normal()])
