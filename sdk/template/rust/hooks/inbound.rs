//! Answers HTTP requests to `/v1/hooks/{plugin}/count`: counts them.

use crate::Plugin;
use godwit_plugin::{
    Fault, Inbound,
    inbound::{Request, Response},
    kv,
};

impl Inbound for Plugin {
    fn handle(&self, request: &Request) -> Result<Response, Fault> {
        if request.path != "count" {
            return Ok(Response::text(404, "There is only /count."));
        }
        let before: u64 = kv::get_text("requests")?.and_then(|text| text.parse().ok()).unwrap_or_default();
        let count = before + 1;
        kv::set("requests", count.to_string())?;
        Ok(Response::json(200, format!("{{\"requests\":{count}}}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn requests_are_counted() {
        let plugin: Plugin = testing::init("{}").unwrap();
        testing::set_row("requests", "41");
        let request = Request {
            method: "POST".into(),
            path: "count".into(),
            query: None,
            headers: Vec::new(),
            body: Vec::new(),
            address: "192.0.2.1".into(),
        };
        let response = testing::transaction(|| plugin.handle(&request)).unwrap();
        assert_eq!(response.body, b"{\"requests\":42}");
        assert_eq!(testing::row("requests"), Some(b"42".to_vec()));
    }
}
