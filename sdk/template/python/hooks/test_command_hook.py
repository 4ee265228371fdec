import unittest

import godwit_testing as testing
from command_hook import Command
from wit_world.exports import command
from wit_world.imports import types


class Commanding(unittest.TestCase):
    def test_whoever_is_named_is_greeted(self):
        def run(*given):
            invocation = command.Invocation(
                name="hello",
                arguments=list(given),
                conversation=testing.conversation(),
                caller=testing.user(2, "ada"),
                role=types.Role.MEMBER,
            )
            return Command().run(invocation).value.body

        self.assertEqual(run(command.Given("name", command.Value_Text("Ben"))), "Hello, Ben!")
        self.assertEqual(run(), "Hello, everyone!")
