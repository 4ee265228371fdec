import unittest

import godwit_testing as testing
from config import Lifecycle
from moderation_hook import Moderation
from wit_world.exports import moderation


class Judging(unittest.TestCase):
    def test_the_word_is_refused_in_any_case(self):
        testing.reset()
        Lifecycle().init('{ "word": "End" }')
        verdict = Moderation().review(testing.scene(), testing.message("The END"))
        self.assertEqual(verdict.value.text, 'Please write about "end" elsewhere.')
        self.assertEqual([text for _, text in testing.host.lines], ["refused something of ada"])
        allowed = Moderation().review(testing.scene(), testing.message("The beginning"))
        self.assertIsInstance(allowed, moderation.Verdict_Allow)
