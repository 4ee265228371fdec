//! Serves slash commands: `/hello` greets.

use crate::Plugin;
use godwit_plugin::{
    Command,
    command::{ArgumentKind, CommandSpec, Invocation, Reply},
};

impl Command for Plugin {
    fn commands(&self) -> Vec<CommandSpec> {
        vec![CommandSpec::new("hello", "Greets.").optional("name", ArgumentKind::Text, "Whom to greet.")]
    }

    fn run(&self, invocation: &Invocation) -> Result<Reply, String> {
        let name = invocation.text("name").unwrap_or("everyone");
        Ok(Reply::to_caller(format!("Hello, {name}!")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn the_command_is_told_with_its_argument() {
        let plugin: Plugin = testing::init("{}").unwrap();
        let specs = plugin.commands();
        assert_eq!((specs[0].name.as_str(), specs[0].arguments[0].required), ("hello", false));
    }
}
