import unittest

import godwit_testing as testing
from bot_hook import Bot
from wit_world.exports import bot


class Hearing(unittest.TestCase):
    def test_a_mention_is_answered_and_a_message_is_not(self):
        testing.reset()
        testing.transaction(lambda: Bot().on_event(testing.said("hello")))
        self.assertEqual(testing.sent(), [])
        testing.transaction(lambda: Bot().on_event(testing.said("hello", bot.What_Mentioned)))
        self.assertEqual(testing.sent(), ["You said: hello"])
