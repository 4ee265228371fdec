//! What an author reads of a panic: one line in the plugin's log, with message, file and line.
//!
//! It owns the panic hook of a component and nothing else; outside of one, tests show panics as they always do.

/// Has panics logged from now on. Each hook calls it first: nothing else is sure to run before a plugin's own code.
#[cfg(target_family = "wasm")]
pub(crate) fn watch() {
    static WATCH: std::sync::Once = std::sync::Once::new();
    WATCH.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            crate::log::error(told(panic.location(), panic.payload_as_str()));
        }));
    });
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn watch() {}

/// In the words in which a compiler names a place, so that editors find it.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
fn told(place: Option<&std::panic::Location<'_>>, message: Option<&str>) -> String {
    let message = message.unwrap_or("without a message");
    match place {
        Some(place) => format!("panicked at {place}: {message}"),
        None => format!("panicked: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        let place = std::panic::Location::caller();
        let told = told(Some(place), Some("boom"));
        assert_eq!(told, format!("panicked at {}:{}:{}: boom", place.file(), place.line(), place.column()));
    }
}
