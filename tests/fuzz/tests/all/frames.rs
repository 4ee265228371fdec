//! Frames and requests, as they come from a socket before anyone is known.
//!
//! Promises: each object is decoded, refused with a stable code and a field that can be shown, or malformed; reading
//! it twice says the same; nesting is bounded; a request that decodes names itself.

use godwit_fuzz::Target;
use godwit_protocol::{
    encode,
    error::Code,
    frame,
    request::{self, ID_MAX, NAMES, Request},
};

/// The longest field that an error may name, in bytes: it is sent back.
const FIELD_BYTES_MAX: usize = 1_024;

pub struct Frames;

impl Target for Frames {
    const NAME: &'static str = "frames";

    fn valid(&self) -> Vec<Vec<u8>> {
        let id = "019a0000-0000-7000-8000-000000000001";
        let mut frames = vec![
            format!(
                r#"{{"id":1,"connect":{{"token":"t","device":{{"id":"{id}","name":"n"}},"resume":{{"epoch":"e","cursor":"c"}},"active":true,"window":50}}}}"#
            ),
            format!(
                r#"{{"id":2,"send":{{"conversation":"{id}","client_id":"{id}","body":"h\u00e9 \ud83d\ude00","reply_to":3,"mentions":["{id}"]}}}}"#
            ),
            format!(
                r#"{{"id":3,"send":{{"to":"{id}","client_id":"{id}","kind":"text","body":"hello","expires_in_s":60,"after":"{id}"}}}}"#
            ),
            format!(
                "{{\"id\":4,\"read\":{{\"conversation\":\"{id}\",\"seq\":9}}}}\n\n {{\"id\":5,\"received\":{{\"conversation\":\"{id}\",\"seq\":9}}}}\r\n"
            ),
            format!(r#"{{"id":6,"history":{{"conversation":"{id}","after_seq":0,"limit":200}}}}"#),
            format!(r#"{{"id":7,"create":{{"kind":"group","title":"t","members":["{id}"]}}}}"#),
            format!(r#"{{"id":8,"invite":{{"conversation":"{id}","users":["{id}"]}}}}"#),
            format!(r#"{{"typing":{{"conversation":"{id}"}}}}"#),
            format!(
                r#"{{"id":9,"profile":{{"display_name":null,"avatar":"{id}","time_zone":"UTC","privacy":{{"presence":"nobody","receipts":false}}}}}}"#
            ),
            format!(r#"{{"id":10,"watch":{{"users":["{id}"]}}}}"#),
            r#"{"id":9007199254740991,"nothing":{"a":[[[[]]]],"b":-1.5e300}}"#.to_owned(),
        ];
        frames.extend(NAMES.iter().map(|name| format!(r#"{{"id":1,"{name}":{{}}}}"#)));
        frames.into_iter().map(String::into_bytes).collect()
    }

    fn words(&self) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = NAMES.iter().map(|name| format!("\"{name}\":").into_bytes()).collect();
        for word in [
            "{", "}", "[", "]", "\"", "\\", "\\u0000", "\\ud800", "\n", ",", ":", "null", "true", "-0",
            "1e999", "\"id\":",
        ] {
            words.push(word.into());
        }
        words.push("[".repeat(frame::DEPTH_MAX + 1).into_bytes());
        words.push("{\"a\":".repeat(frame::DEPTH_MAX).into_bytes());
        words
    }

    fn check(&self, input: &[u8]) {
        // The socket has refused what is no text.
        let Ok(text) = std::str::from_utf8(input) else { return };
        for object in frame::objects(text).take(frame::OBJECTS_MAX) {
            let parsed = request::parse(object);
            assert_eq!(parsed, request::parse(object), "reading twice says the same");
            let Ok(incoming) = parsed else { continue };
            assert!(!frame::too_deep(object), "what is too deep is malformed");
            assert!(incoming.id <= ID_MAX, "{}", incoming.id);
            match incoming.request {
                // What has no reply needs no id.
                Ok(Request::Typing(_)) => {}
                Ok(_) => assert!(incoming.id > 0, "a request without a usable id is not carried out"),
                Err(error) => {
                    assert!(
                        matches!(error.code, Code::Invalid | Code::UnknownRequest | Code::TooLarge),
                        "{error:?}"
                    );
                    let frame = encode::error(incoming.id, &error);
                    let shown: serde_json::Value = serde_json::from_slice(&frame).expect("an error is JSON");
                    let shown = &shown["error"];
                    assert!(!shown["message"].as_str().unwrap().is_empty());
                    if let Some(field) = shown["field"].as_str() {
                        assert!(!field.is_empty() && field.len() <= FIELD_BYTES_MAX, "the field {field:?}");
                    }
                }
            }
        }
    }
}
