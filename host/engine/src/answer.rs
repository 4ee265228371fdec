//! What guests answer, checked value by value before the host believes it.
//!
//! A plugin that breaks a limit with its answer has broken down like one that traps; its words are not passed on.

use crate::{
    bindings::{moderation, normalise, types},
    options::Options,
};
use godwit_domain::{filter::Reason, id::UserId, message};
use uuid::Uuid;

const CODE_BYTES_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 500;

/// What a hook decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Allow,
    Rewrite { body: String, mentions: Vec<UserId> },
    Reject(Reason),
    Hold(Reason),
}

/// Checks what `normalise` returned for `content`.
pub(crate) fn normalised(
    answer: Result<Option<normalise::Rewrite>, types::Reason>,
    content: &message::Content,
    options: &Options,
) -> Result<Answer, String> {
    let rewrite = match answer {
        Ok(None) => return Ok(Answer::Allow),
        Err(refusal) => return reason(refusal).map(Answer::Reject),
        Ok(Some(rewrite)) => rewrite,
    };
    let (bytes, limit) = (rewrite.body.len(), options.body_bytes_max as usize);
    if content.kind == message::Kind::Encrypted {
        return Err("rewrote an encrypted message".to_owned());
    }
    if bytes > limit {
        return Err(format!("rewrote the body to {bytes} bytes, the limit is {limit}"));
    }
    let (count, limit) = (rewrite.mentions.len(), options.mentions_max as usize);
    if count > limit {
        return Err(format!("mentions {count} users, the limit is {limit}"));
    }
    let mentions: Vec<_> =
        rewrite.mentions.iter().map(|id| UserId(Uuid::from_u64_pair(id.hi, id.lo))).collect();
    match rewrite.body == content.body && mentions == content.mentions {
        true => Ok(Answer::Allow),
        false => Ok(Answer::Rewrite { body: rewrite.body, mentions }),
    }
}

/// Checks what `review` returned.
pub(crate) fn reviewed(verdict: moderation::Verdict) -> Result<Answer, String> {
    match verdict {
        moderation::Verdict::Allow => Ok(Answer::Allow),
        moderation::Verdict::Reject(refusal) => reason(refusal).map(Answer::Reject),
        moderation::Verdict::Hold(why) => reason(why).map(Answer::Hold),
    }
}

fn reason(types::Reason { code, text }: types::Reason) -> Result<Reason, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if code.is_empty() || code.len() > CODE_BYTES_MAX || !code.bytes().all(plain) {
        let shown = &code[..code.floor_char_boundary(CODE_BYTES_MAX)];
        return Err(format!("reason code {shown:?} must be 1 to {CODE_BYTES_MAX} of a-z, 0-9, - and _"));
    }
    let chars = text.chars().count();
    if chars > TEXT_CHARS_MAX {
        return Err(format!("reason text has {chars} characters, the limit is {TEXT_CHARS_MAX}"));
    }
    Ok(Reason { code, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(body: &str, mentions: usize) -> Result<Option<normalise::Rewrite>, types::Reason> {
        let mentions = (0..mentions as u64).map(|lo| types::Id { hi: 0, lo }).collect();
        Ok(Some(normalise::Rewrite { body: body.to_owned(), mentions }))
    }

    fn refusal(code: &str, text: &str) -> types::Reason {
        types::Reason { code: code.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_rewrite_within_its_limits_is_taken_and_one_that_changes_nothing_is_none() {
        let content = message::Content::text("a");
        let options = Options { body_bytes_max: 4, mentions_max: 1, ..Options::default() };
        let check = |answer| normalised(answer, &content, &options);
        let mentions = vec![UserId::from_u128(0)];
        assert_eq!(check(rewrite("abcd", 1)), Ok(Answer::Rewrite { body: "abcd".into(), mentions }));
        assert_eq!(check(rewrite("a", 0)), Ok(Answer::Allow));
        assert_eq!(check(Ok(None)), Ok(Answer::Allow));
        assert!(check(rewrite("abcde", 0)).unwrap_err().contains("5 bytes, the limit is 4"));
        assert!(check(rewrite("abcd", 2)).unwrap_err().contains("2 users, the limit is 1"));
    }

    #[test]
    fn an_encrypted_message_cannot_be_rewritten() {
        let content = message::Content { kind: message::Kind::Encrypted, ..message::Content::text("opaque") };
        assert!(normalised(rewrite("", 0), &content, &Options::default()).is_err());
    }

    #[test]
    fn a_reason_is_checked_wherever_it_comes_from() {
        let longest = "é".repeat(TEXT_CHARS_MAX);
        assert!(matches!(
            reviewed(moderation::Verdict::Reject(refusal("bad-word_1", &longest))),
            Ok(Answer::Reject(_))
        ));
        for bad in [
            refusal("", ""),
            refusal("Bad", ""),
            refusal(&"a".repeat(65), ""),
            refusal("a", &(longest + ".")),
        ] {
            assert!(reviewed(moderation::Verdict::Reject(bad.clone())).is_err(), "{bad:?}");
            assert!(reviewed(moderation::Verdict::Hold(bad.clone())).is_err(), "{bad:?}");
            assert!(normalised(Err(bad), &message::Content::text(""), &Options::default()).is_err());
        }
    }

    #[test]
    fn what_should_be_held_is_told_from_what_is_refused() {
        let held = reviewed(moderation::Verdict::Hold(refusal("unsure", "wait")));
        let reason = Reason { code: "unsure".into(), text: "wait".into() };
        assert_eq!(held, Ok(Answer::Hold(reason)));
    }
}
