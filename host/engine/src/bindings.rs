//! The plugin interface as Rust types, generated from `wit/0.1`, and what the domain's types become in it.
//!
//! Start with [`Told`]: it borrows from a scene, so that a call copies each string once, into the guest.

use godwit_domain::{conversation, filter, message};

wasmtime::component::bindgen!({
    path: "../../wit/0.1",
    inline: "
        package godwit:host;
        world filters {
            import godwit:plugin/log@0.1.0;
            import godwit:plugin/rate@0.1.0;
            export godwit:plugin/lifecycle@0.1.0;
            export godwit:plugin/normalise@0.1.0;
            export godwit:plugin/moderation@0.1.0;
        }
    ",
    world: "godwit:host/filters",
    ownership: Borrowing { duplicate_if_necessary: true },
    exports: { default: async },
});

pub(crate) use exports::godwit::plugin::{lifecycle, moderation, normalise};
pub(crate) use godwit::plugin::{log, rate, types};
