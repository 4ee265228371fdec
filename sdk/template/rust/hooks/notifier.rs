//! Delivers notifications to devices of the kind `example`, by a server that the manifest names.

use crate::Plugin;
use godwit_plugin::{
    Fault, Notifier,
    http::{self, Outgoing},
    notifier::{Notification, Outcome},
};

impl Notifier for Plugin {
    fn kinds(&self) -> Vec<String> {
        vec!["example".to_owned()]
    }

    fn notify(&self, notification: &Notification) -> Result<Outcome, Fault> {
        let url = format!("https://push.example.com/{}", notification.endpoint);
        let text = notification.preview.clone().unwrap_or_else(|| "New message".to_owned());
        let answer = http::fetch(&Outgoing::post(url, "text/plain", text))?;
        match answer.status {
            200..300 => Ok(Outcome::Sent),
            404 | 410 => Ok(Outcome::Gone),
            status => Err(Fault::retry(format!("the server answered {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn it_serves_one_kind_of_devices() {
        let plugin: Plugin = testing::init("{}").unwrap();
        assert_eq!(plugin.kinds(), ["example"]);
    }
}
