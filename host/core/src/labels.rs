//! What operators call conversations: plugins are installed for all of one label.

use crate::host::Host;
use godwit_domain::id::ConversationId;
use godwit_protocol::error::Error;

/// How many labels a conversation may have.
const LABELS_MAX: usize = 16;
/// The longest label, in bytes.
const LABEL_BYTES_MAX: usize = 64;

impl Host {
    /// Calls a conversation so from here on, and no longer as before; each label once, in order.
    ///
    /// # Errors
    /// `invalid`, `not_found`, or that of the store.
    pub async fn label(
        &self,
        conversation: ConversationId,
        mut labels: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        labels.sort_unstable();
        labels.dedup();
        check(&labels)?;
        self.sequencer.label(conversation, labels.clone()).await?;
        Ok(labels)
    }
}

fn check(labels: &[String]) -> Result<(), Error> {
    if labels.len() > LABELS_MAX {
        let text = format!("{} labels, the limit is {LABELS_MAX}", labels.len());
        return Err(Error::invalid("labels", text));
    }
    let is_one = |label: &String| {
        let of_words =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(of_words)
    };
    match labels.iter().find(|label| !is_one(label)) {
        Some(label) => {
            let text = format!("`{label}` is not 1 to {LABEL_BYTES_MAX} of a-z0-9-_.");
            Err(Error::invalid("labels", text))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_plain_and_few() {
        let many = |count: usize| (0..count).map(|n| format!("label-{n}")).collect::<Vec<_>>();
        assert_eq!(check(&many(LABELS_MAX)), Ok(()));
        assert_eq!(check(&["x".repeat(LABEL_BYTES_MAX)]), Ok(()));
        for wrong in [many(LABELS_MAX + 1), vec![String::new()], vec!["Press".into()], vec!["x".repeat(65)]] {
            assert_eq!(check(&wrong).unwrap_err().field.as_deref(), Some("labels"), "{wrong:?}");
        }
    }
}
