import unittest

import godwit_testing as testing
from fan_out_hook import FanOut
from wit_world.exports import fan_out


class Choosing(unittest.TestCase):
    def test_a_large_conversation_is_for_those_who_follow(self):
        choose = lambda members: FanOut().choose(
            testing.scene(), testing.stored("hello"), testing.facts(members)
        )
        self.assertIsNone(choose(50))
        self.assertEqual(choose(51).live, fan_out.Live_Followers())
