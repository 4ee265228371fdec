//! What `wit-bindgen` makes of `wit/0.1`: the types and services once, and one module per hook.
//!
//! It owns the generated code and knows nothing of the traits that authors implement.
//! Each hook has a world and an export macro of its own, so that a component exports just the hooks whose macro is
//! called; all of them share the types and imports of [`services`]. Start with [`services`].

// Generated: its documentation stands in the WIT files, and its `unsafe` is that of the canonical ABI.
#![allow(missing_docs, unsafe_op_in_unsafe_fn, clippy::all, clippy::unwrap_used)]

/// Types and host services.
pub mod services {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "services",
        generate_unused_types: true,
        additional_derives: [PartialEq],
        additional_type_attributes: {
            "godwit:plugin/types@0.1.0/id": [#[derive(Eq, Hash, PartialOrd, Ord)]],
            "godwit:plugin/types@0.1.0/reason": [#[derive(Eq)]],
            "godwit:plugin/types@0.1.0/counts": [#[derive(Eq, Default)]],
            "godwit:plugin/types@0.1.0/sender-activity": [#[derive(Eq, Default)]],
        },
    });
}

/// The hook `lifecycle`.
pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "lifecycle-plugin",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "godwit_plugin::bindings::lifecycle",
    });
}

/// The hook `normalise`.
pub mod normalise {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "normalise-plugin",
        pub_export_macro: true,
        export_macro_name: "export_normalise",
        default_bindings_module: "godwit_plugin::bindings::normalise",
        additional_derives: [PartialEq, Eq],
        with: {
            "godwit:plugin/types@0.1.0": crate::bindings::services::godwit::plugin::types,
            "godwit:plugin/log@0.1.0": crate::bindings::services::godwit::plugin::log,
            "godwit:plugin/rate@0.1.0": crate::bindings::services::godwit::plugin::rate,
        },
    });
}

/// The hook `moderation`.
pub mod moderation {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "moderation-plugin",
        pub_export_macro: true,
        export_macro_name: "export_moderation",
        default_bindings_module: "godwit_plugin::bindings::moderation",
        additional_derives: [PartialEq],
        with: {
            "godwit:plugin/types@0.1.0": crate::bindings::services::godwit::plugin::types,
            "godwit:plugin/log@0.1.0": crate::bindings::services::godwit::plugin::log,
            "godwit:plugin/rate@0.1.0": crate::bindings::services::godwit::plugin::rate,
        },
    });
}

/// The hook `fan-out`.
pub mod fan_out {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "fan-out-plugin",
        pub_export_macro: true,
        export_macro_name: "export_fan_out",
        default_bindings_module: "godwit_plugin::bindings::fan_out",
        additional_derives: [PartialEq],
        with: {
            "godwit:plugin/types@0.1.0": crate::bindings::services::godwit::plugin::types,
            "godwit:plugin/log@0.1.0": crate::bindings::services::godwit::plugin::log,
            "godwit:plugin/rate@0.1.0": crate::bindings::services::godwit::plugin::rate,
        },
    });
}

/// The hook `delivery`.
pub mod delivery {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "delivery-plugin",
        pub_export_macro: true,
        export_macro_name: "export_delivery",
        default_bindings_module: "godwit_plugin::bindings::delivery",
        additional_derives: [PartialEq],
        with: {
            "godwit:plugin/types@0.1.0": crate::bindings::services::godwit::plugin::types,
            "godwit:plugin/log@0.1.0": crate::bindings::services::godwit::plugin::log,
            "godwit:plugin/rate@0.1.0": crate::bindings::services::godwit::plugin::rate,
        },
    });
}
