//! Whether an object holds what is expected of it.

use serde_json::Value;

/// Every field of `expected` must be in `actual`; `null` is what must not be there. Lists of users have no order.
pub fn same(expected: &Value, actual: &Value) -> Result<(), String> {
    differ("", expected, actual)
        .map_err(|place| format!("{place}\n  expected {expected}\n  answered {actual}"))
}

fn differ(place: &str, expected: &Value, actual: &Value) -> Result<(), String> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => expected.iter().try_for_each(|(key, value)| {
            differ(&format!("{place}.{key}"), value, actual.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            let (mut expected, mut actual) = (expected.clone(), actual.clone());
            if place.ends_with(".members") || place.ends_with(".users") {
                let user = |value: &Value| value.get("user").unwrap_or(value).to_string();
                expected.sort_by_key(user);
                actual.sort_by_key(user);
            }
            let mut pairs = expected.iter().zip(&actual).enumerate();
            pairs.try_for_each(|(nth, (expected, actual))| {
                differ(&format!("{place}[{nth}]"), expected, actual)
            })
        }
        _ if expected == actual => Ok(()),
        _ => Err(format!("{place} is {actual}, expected {expected}")),
    }
}
