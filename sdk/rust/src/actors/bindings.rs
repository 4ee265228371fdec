//! What `wit-bindgen` makes of the hooks of actors: one module per hook, as [`crate::bindings`] has for filters.

// Generated: its documentation stands in the WIT files, and its `unsafe` is that of the canonical ABI.
#![allow(missing_docs, unsafe_op_in_unsafe_fn, clippy::all, clippy::unwrap_used)]

/// A hook of actors, with the types and services of [`crate::bindings::services`].
macro_rules! hook {
    ($(#[$doc:meta])* $module:ident, $world:tt, $export:tt, $path:tt) => {
        $(#[$doc])*
        pub mod $module {
            wit_bindgen::generate!({
                path: "../../wit/0.1",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $path,
                additional_derives: [PartialEq],
                with: {
                    "godwit:plugin/types@0.1.0": crate::bindings::services::godwit::plugin::types,
                    "godwit:plugin/errors@0.1.0": crate::bindings::services::godwit::plugin::errors,
                    "godwit:plugin/log@0.1.0": crate::bindings::services::godwit::plugin::log,
                    "godwit:plugin/rate@0.1.0": crate::bindings::services::godwit::plugin::rate,
                    "godwit:plugin/state@0.1.0": crate::bindings::services::godwit::plugin::state,
                    "godwit:plugin/zone@0.1.0": crate::bindings::services::godwit::plugin::zone,
                    "godwit:plugin/kv@0.1.0": crate::bindings::services::godwit::plugin::kv,
                    "godwit:plugin/chat@0.1.0": crate::bindings::services::godwit::plugin::chat,
                    "godwit:plugin/timer@0.1.0": crate::bindings::services::godwit::plugin::timer,
                    "godwit:plugin/http@0.1.0": crate::bindings::services::godwit::plugin::http,
                    "godwit:plugin/secret@0.1.0": crate::bindings::services::godwit::plugin::secret,
                },
            });
        }
    };
}

hook! {
    /// The hook `bot`.
    bot, "bot-plugin", "export_bot", "godwit_plugin::actors::bindings::bot"
}
hook! {
    /// The hook `command`.
    command, "command-plugin", "export_command", "godwit_plugin::actors::bindings::command"
}
hook! {
    /// The hook `notifier`.
    notifier, "notifier-plugin", "export_notifier", "godwit_plugin::actors::bindings::notifier"
}
hook! {
    /// The hook `inbound`.
    inbound, "inbound-plugin", "export_inbound", "godwit_plugin::actors::bindings::inbound"
}
