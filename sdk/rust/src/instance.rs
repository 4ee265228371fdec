//! How hooks find the plugin's one value in an instance.
//!
//! It owns the cell that `init` fills and nothing else; it does not know what the value is.
//! Authors meet it only when they write a plugin without `init`.

use std::cell::OnceCell;

/// Where hooks find the plugin's value.
///
/// [`lifecycle!`](crate::lifecycle!) implements it with the value that [`Lifecycle::init`](crate::Lifecycle::init)
/// made. A plugin that has neither configuration nor state may implement it by hand and leave `lifecycle!` out:
///
/// ```
/// use godwit_plugin::{Instance, Moderation, Scene, Subject, Verdict};
///
/// struct QuietPlease;
///
/// impl Instance for QuietPlease {
///     fn instance() -> &'static Self {
///         &QuietPlease
///     }
/// }
///
/// impl Moderation for QuietPlease {
///     fn review(&self, _scene: &Scene, subject: Subject) -> Verdict {
///         match subject.text().contains('!') {
///             true => Verdict::reject("loud", "No exclamation marks, please."),
///             false => Verdict::Allow,
///         }
///     }
/// }
///
/// godwit_plugin::moderation!(QuietPlease);
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "the host has no way to build `{Self}`",
    note = "call `godwit_plugin::lifecycle!({Self});` beside the macros of its hooks"
)]
pub trait Instance: 'static {
    /// The plugin's value in this instance.
    fn instance() -> &'static Self;
}

/// The cell that [`lifecycle!`](crate::lifecycle!) declares, one per thread: a component has one thread, and native
/// tests get a plugin each. The value lives as long as the instance, hence the leak.
#[doc(hidden)]
pub struct Slot<P: 'static>(OnceCell<&'static P>);

impl<P> Slot<P> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(OnceCell::new())
    }

    pub fn fill(&self, plugin: P) -> Result<(), String> {
        self.0.set(Box::leak(Box::new(plugin))).map_err(|_| "the instance was initialised before".to_owned())
    }

    pub fn get(&self) -> &'static P {
        self.0.get().expect("the host calls init before any hook")
    }
}
