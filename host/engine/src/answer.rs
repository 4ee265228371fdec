//! What guests answer, checked value by value before the host believes it.
//!
//! A plugin that breaks a limit with its answer has broken down like one that traps; its words are not passed on.

use crate::{
    bindings::{delivery, fan_out, moderation, normalise, types},
    faults::{self, Fault},
    options::Options,
};
use godwit_domain::{
    filter::{Attention, Audience, Decision, Live, NOTIFY_LATER_MS_MAX, Notified, Reason},
    id::UserId,
    message,
    time::Ms,
};
use std::collections::HashSet;
use uuid::Uuid;

const CODE_BYTES_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 500;

/// What a hook decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Allow,
    Rewrite {
        body: String,
        mentions: Vec<UserId>,
    },
    Reject(Reason),
    Hold(Reason),
    /// Who is told, where a rule says so.
    Audience(Audience),
    /// With what attention, by recipient; not all of them `normal`.
    Attention(Vec<Attention>),
}

impl Answer {
    pub(crate) fn decision(&self) -> Decision {
        match self {
            Self::Allow => Decision::Allow,
            Self::Rewrite { .. } => Decision::Rewrite,
            Self::Reject(_) => Decision::Reject,
            Self::Hold(_) => Decision::Hold,
            Self::Audience(_) | Self::Attention(_) => Decision::Override,
        }
    }
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
    if bytes > limit && !faults::on(Fault::RewriteUnbounded) {
        return Err(format!("rewrote the body to {bytes} bytes, the limit is {limit}"));
    }
    let (count, limit) = (rewrite.mentions.len(), options.mentions_max as usize);
    if count > limit {
        return Err(format!("mentions {count} users, the limit is {limit}"));
    }
    let mentions: Vec<_> = rewrite.mentions.iter().map(user).collect();
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
        moderation::Verdict::Hold(_) if faults::on(Fault::HoldAllows) => Ok(Answer::Allow),
        moderation::Verdict::Hold(why) => reason(why).map(Answer::Hold),
    }
}

/// Checks what `choose` returned in a conversation of so many members; of whom these, if it was shown who they are.
pub(crate) fn chosen(
    answer: Option<fan_out::Audience>,
    member_count: u32,
    members: Option<&[UserId]>,
) -> Result<Answer, String> {
    let Some(fan_out::Audience { live, notified }) = answer else { return Ok(Answer::Allow) };
    let named = |what: &str, list: &[types::Id]| {
        let mut seen = HashSet::with_capacity(list.len());
        let users: Vec<_> = list.iter().map(user).filter(|user| seen.insert(*user)).collect();
        if faults::on(Fault::AudienceUnchecked) {
            return Ok(users);
        }
        if users.len() > member_count as usize {
            return Err(format!("names {} users as {what}, there are {member_count} members", users.len()));
        }
        let Some(members) = members else { return Ok(users) };
        for member in members {
            seen.remove(member);
        }
        match seen.into_iter().next() {
            Some(foreign) => Err(format!("names {foreign} as {what}, who was not in the member list")),
            None => Ok(users),
        }
    };
    let live = match &live {
        fan_out::Live::Everyone => Live::Everyone,
        fan_out::Live::Followers => Live::Followers,
        fan_out::Live::FollowersAnd(list) => Live::FollowersAnd(named("live", list)?),
        fan_out::Live::Only(list) => Live::Only(named("live", list)?),
    };
    let notified = match &notified {
        fan_out::Notified::Everyone => Notified::Everyone,
        fan_out::Notified::Mentioned => Notified::Mentioned,
        fan_out::Notified::Only(list) => Notified::Only(named("notified", list)?),
        fan_out::Notified::Nobody => Notified::Nobody,
    };
    Ok(Answer::Audience(Audience { live, notified }))
}

/// Checks what `decide` returned for so many recipients.
pub(crate) fn decided(answers: &[delivery::Attention], recipients: usize, now: Ms) -> Result<Answer, String> {
    if answers.len() != recipients && !faults::on(Fault::AttentionUnchecked) {
        return Err(format!("{} answers for {recipients} recipients", answers.len()));
    }
    let latest = now.plus(NOTIFY_LATER_MS_MAX);
    let attention = |answer: &delivery::Attention| match *answer {
        delivery::Attention::Normal => Attention::Normal,
        delivery::Attention::Quiet => Attention::Quiet,
        delivery::Attention::NotifyLater(at) => Attention::NotifyLater(Ms(at).min(latest)),
        delivery::Attention::NoNotification => Attention::NoNotification,
    };
    let attentions: Vec<_> = answers.iter().map(attention).collect();
    match attentions.iter().all(|attention| *attention == Attention::Normal) {
        true => Ok(Answer::Allow),
        false => Ok(Answer::Attention(attentions)),
    }
}

fn user(id: &types::Id) -> UserId {
    UserId(Uuid::from_u64_pair(id.hi, id.lo))
}

fn reason(types::Reason { code, text }: types::Reason) -> Result<Reason, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if faults::on(Fault::AnswerUnchecked) {
        return Ok(Reason { code, text });
    }
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

    fn id(lo: u64) -> types::Id {
        types::Id { hi: 0, lo }
    }

    fn only(live: &[u64], notified: &[u64]) -> Option<fan_out::Audience> {
        let list = |ids: &[u64]| ids.iter().copied().map(id).collect();
        let (live, notified) = (fan_out::Live::Only(list(live)), fan_out::Notified::Only(list(notified)));
        Some(fan_out::Audience { live, notified })
    }

    #[test]
    fn an_audience_names_each_member_once_and_nobody_else() {
        let users = |ids: &[u128]| ids.iter().copied().map(UserId::from_u128).collect::<Vec<_>>();
        let members = users(&[1, 2, 3]);
        let audience = Audience { live: Live::Only(users(&[2, 1])), notified: Notified::Only(users(&[3])) };
        for shown in [Some(&members[..]), None] {
            let found = chosen(only(&[2, 1, 2], &[3, 3, 3, 3]), 3, shown);
            assert_eq!(found, Ok(Answer::Audience(audience.clone())));
            assert_eq!(chosen(None, 3, shown), Ok(Answer::Allow));
            for (live, notified) in [(&[1, 2, 3, 4][..], &[1][..]), (&[1], &[1, 2, 3, 4])] {
                let found = chosen(only(live, notified), 3, shown).unwrap_err();
                assert!(found.contains("4 users") && found.contains("3 members"), "{found}");
            }
        }
        for (live, notified, what) in [(&[9][..], &[1][..], "live"), (&[1], &[9], "notified")] {
            let found = chosen(only(live, notified), 3, Some(&members)).unwrap_err();
            assert!(found.contains(what) && found.contains("not in the member list"), "{found}");
            // Where it was not shown who is in, it may know people from elsewhere.
            assert!(chosen(only(live, notified), 3, None).is_ok());
        }
    }

    #[test]
    fn there_is_one_attention_for_each_recipient_and_no_time_is_too_far() {
        use delivery::Attention::{NoNotification, Normal, NotifyLater, Quiet};
        let now = Ms(1_000);
        assert_eq!(decided(&[Normal, Normal], 2, now), Ok(Answer::Allow));
        assert_eq!(decided(&[], 0, now), Ok(Answer::Allow));
        let found = decided(&[Normal, Quiet, NoNotification, NotifyLater(7), NotifyLater(u64::MAX)], 5, now);
        let latest = Ms(1_000 + 7 * 86_400_000);
        let expected = [
            Attention::Normal,
            Attention::Quiet,
            Attention::NoNotification,
            Attention::NotifyLater(Ms(7)),
            Attention::NotifyLater(latest),
        ];
        assert_eq!(found, Ok(Answer::Attention(expected.to_vec())));
        for wrong in [&[][..], &[Quiet], &[Quiet, Quiet, Quiet]] {
            let found = decided(wrong, 2, now).unwrap_err();
            assert!(found.contains("2 recipients"), "{found}");
        }
    }
}
