//! The tables over the real backend: what they promise, what a crash leaves, what a changed byte does.

// By `cfg(test)` clippy knows the helpers in these modules for tests.
#[cfg(test)]
mod accounts;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod common;
#[cfg(test)]
mod contacts;
#[cfg(test)]
mod deferrals;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod held;
#[cfg(test)]
mod marks;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod people;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod revisions;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod work;
