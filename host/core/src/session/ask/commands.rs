//! Slash commands of plugins.

use super::Asker;
use crate::actors::Listed;
use godwit_protocol::{
    encode,
    error::Error,
    request::{Command, Commands},
};
use serde::Serialize;

#[derive(Serialize)]
struct Many {
    commands: Vec<Listed>,
}

impl Asker {
    pub(super) async fn commands(&self, id: u64, asked: Commands) -> Result<Vec<u8>, Error> {
        let commands = self.host.commands(asked.conversation, self.user.id).await?;
        Ok(encode::ok(id, &Many { commands }))
    }

    pub(super) async fn command(&self, id: u64, asked: Command) -> Result<Vec<u8>, Error> {
        let person = self.host.people.get(self.user.id);
        Ok(encode::ok(id, &self.host.command(&self.user, &person, asked).await?))
    }
}
