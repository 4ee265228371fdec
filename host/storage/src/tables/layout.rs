//! Where everything stands: partitions and keys.
//!
//! It owns the byte layouts that `FORMAT.md` draws, and nothing of what the rows say.
//! Numbers in keys are big-endian, so that they sort as they count.

use bytes::Bytes;
use godwit_domain::{
    id::{ClientId, ConversationId, Generation, LoginId, Seq, UserId},
    plugin::Digest,
    time::Ms,
    waist::{Partition, Space},
};
use uuid::Uuid;

/// How many entries of a stream one partition holds.
pub(super) const BUCKET: u64 = 4_096;

/// The bucket in which the entry of that number stands; entries count from 1.
/// 2^32 buckets are 2^44 entries: no conversation gets there.
pub(super) const fn bucket(number: u64) -> u32 {
    (number.saturating_sub(1) / BUCKET) as u32
}

/// The number of the first entry of a bucket.
pub(super) const fn first(bucket: u32) -> u64 {
    bucket as u64 * BUCKET + 1
}

/// The number of the last entry of a bucket.
pub(super) const fn last(bucket: u32) -> u64 {
    (bucket as u64 + 1) * BUCKET
}

fn partition(space: Space, parts: &[&[u8]]) -> Partition {
    Partition { space, name: parts.concat().into() }
}

/// A bucket of a conversation's messages.
pub(super) fn messages(conversation: ConversationId, bucket: u32) -> Partition {
    partition(Space::Log, &[b"c", conversation.as_bytes(), b"m", &bucket.to_be_bytes()])
}

/// A bucket of a conversation's revisions.
pub(super) fn revisions(conversation: ConversationId, bucket: u32) -> Partition {
    partition(Space::Log, &[b"c", conversation.as_bytes(), b"r", &bucket.to_be_bytes()])
}

/// The reactions to the messages of a bucket.
pub(super) fn reactions(conversation: ConversationId, bucket: u32) -> Partition {
    partition(Space::Log, &[b"c", conversation.as_bytes(), b"x", &bucket.to_be_bytes()])
}

/// What is true of a conversation: meta, members, marks.
pub(super) fn conversation(conversation: ConversationId) -> Partition {
    partition(Space::State, &[b"m", conversation.as_bytes()])
}

/// Into how many parts the members of a channel are spread.
pub(super) const PARTS: u8 = 64;

/// The members of a channel in that part.
pub(super) fn channel_part(channel: ConversationId, part: u8) -> Partition {
    partition(Space::State, &[b"m", channel.as_bytes(), &[part]])
}

/// Where the row of a member stands.
pub(super) fn members(conversation: ConversationId, is_channel: bool, user: UserId) -> Partition {
    match is_channel {
        true => channel_part(conversation, user.as_bytes()[15] % PARTS),
        false => self::conversation(conversation),
    }
}

/// The conversations that anyone may join.
pub(super) fn open_conversations() -> Partition {
    partition(Space::State, &[b"o"])
}

/// What is true of a user: account, list of conversations, own marks.
pub(super) fn user(user: UserId) -> Partition {
    partition(Space::State, &[b"u", user.as_bytes()])
}

/// What a user deleted for themselves in a conversation.
pub(super) fn hidden(user: UserId, conversation: ConversationId) -> Partition {
    partition(Space::State, &[b"d", user.as_bytes(), conversation.as_bytes()])
}

/// The drafts of a conversation that are on hold, and those that were rejected.
pub(super) fn drafts(conversation: ConversationId) -> Partition {
    partition(Space::Log, &[b"h", conversation.as_bytes()])
}

/// When something has to be done without anybody asking.
pub(super) fn timers() -> Partition {
    partition(Space::Ephemeral, &[b"t"])
}

/// When notifications that were put off are looked at again.
pub(super) fn deferral_timers() -> Partition {
    partition(Space::Ephemeral, &[b"t", b"n"])
}

/// The claim on a name.
pub(super) fn name(name: &str) -> Partition {
    partition(Space::State, &[b"n", name.as_bytes()])
}

/// The epoch of the store, and the bound of its times of change.
pub(super) fn epoch() -> Partition {
    partition(Space::State, &[b"e"])
}

/// The roster of plugins, with the compositions of its generations.
pub(super) fn roster() -> Partition {
    partition(Space::State, &[b"p", b"roster"])
}

/// A plugin's component.
pub(super) fn component(digest: Digest) -> Partition {
    partition(Space::State, &[b"p", b"component", &digest.0])
}

/// The components that were uploaded. The dot keeps it apart from partitions that begin with a plugin's id.
pub(super) fn uploads() -> Partition {
    partition(Space::State, &[b"p", b".uploads"])
}

/// The bodies that a plugin is not shown.
pub(super) fn poison(plugin: &str) -> Partition {
    partition(Space::State, &[b"p", b".poison", plugin.as_bytes()])
}

/// The secrets of a plugin.
pub(super) fn secrets(plugin: &str) -> Partition {
    partition(Space::State, &[b"p", plugin.as_bytes(), b"s"])
}

/// A login.
pub(super) fn login(login: LoginId) -> Partition {
    partition(Space::Ephemeral, &[b"x", login.as_bytes()])
}

// In a bucket the entries come first, then the head, then what belongs to it, the youngest client ids before the
// older ones: the rows that an append touches (the last entry, the head, the newest client ids) are neighbours.

/// An entry of a bucket.
pub(super) fn entry(number: u64) -> [u8; 9] {
    numbered(b'e', number)
}

fn numbered(first: u8, number: u64) -> [u8; 9] {
    let mut key = [first; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in a key of one byte and a number. The bounds of a scan leave no other keys.
pub(super) fn number(key: &[u8]) -> u64 {
    key.iter().skip(1).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The head of a bucket, and of what a user hid.
pub(super) const HEAD: &[u8] = b"h";

/// When a bucket of messages was opened: written once, so that the head can be told without reading it.
pub(super) const OPENED: &[u8] = b"o";

/// The first byte of the rows of client ids in a bucket.
pub(super) const SENT: u8 = b's';

/// What a client id was answered: the id with its bits inverted, because it begins with a time, then the sender.
pub(super) fn sent(sender: UserId, client: ClientId) -> [u8; 33] {
    let mut key = [SENT; 33];
    key[1..17].copy_from_slice(&(!client.0.as_u128()).to_be_bytes());
    key[17..].copy_from_slice(sender.as_bytes());
    key
}

/// Sender and client id of a key that [`sent`] made.
pub(super) fn split_sent(key: &[u8]) -> Option<(UserId, ClientId)> {
    let (client, sender) = key.strip_prefix(&[SENT])?.split_first_chunk::<16>()?;
    let sender = u128::from_be_bytes(sender.try_into().ok()?);
    Some((UserId::from_u128(sender), ClientId::from_u128(!u128::from_be_bytes(*client))))
}

/// That a message belongs to a thread: its root, then the message. In the bucket of the message.
pub(super) fn thread(root: Seq, seq: Seq) -> [u8; 17] {
    let mut key = [b't'; 17];
    key[1..9].copy_from_slice(&root.0.to_be_bytes());
    key[9..].copy_from_slice(&seq.0.to_be_bytes());
    key
}

/// The message of a key that [`thread`] made.
pub(super) fn split_thread(key: &[u8]) -> Option<Seq> {
    let (_, seq) = key.strip_prefix(b"t")?.split_first_chunk::<8>()?;
    Some(Seq(u64::from_be_bytes(seq.try_into().ok()?)))
}

/// The largest emoji in bytes: its length is one byte of the key.
pub(super) const EMOJI_BYTES_MAX: usize = 255;

/// What begins the keys of those who react to a message with `emoji`, up to [`EMOJI_BYTES_MAX`] bytes. The length
/// comes first, so that no emoji is the beginning of another.
pub(super) fn reactions_with(seq: Seq, emoji: &str) -> Vec<u8> {
    [&entry(seq.0), &[emoji.len() as u8][..], emoji.as_bytes()].concat()
}

/// That a user reacts to a message so.
pub(super) fn reaction(seq: Seq, emoji: &str, user: UserId) -> Bytes {
    let mut key = reactions_with(seq, emoji);
    key.extend(user.as_bytes());
    key.into()
}

/// Emoji and user of a key that [`reaction`] made.
pub(super) fn split_reaction(key: &[u8]) -> Option<(&str, UserId)> {
    let (_, key) = key.split_first_chunk::<9>()?;
    let (length, key) = key.split_first()?;
    let (emoji, user) = key.split_at_checked(usize::from(*length))?;
    let user = u128::from_be_bytes(user.try_into().ok()?);
    Some((std::str::from_utf8(emoji).ok()?, UserId::from_u128(user)))
}

/// The meta of a conversation; sorts before its members.
pub(super) const META: &[u8] = b"a";

/// The first byte of the rows of members.
pub(super) const MEMBER: u8 = b'u';

/// A member of a conversation.
pub(super) fn member(user: UserId) -> Bytes {
    [&[MEMBER], &user.as_bytes()[..]].concat().into()
}

/// The mark that names the last bucket of a conversation's messages, once there is more than one.
pub(super) const LAST_BUCKET: &[u8] = b"b";

/// The first byte of the keys of marks: in a conversation's partition all users', in a user's their own.
pub(super) const MARKS: u8 = b'k';
/// The first byte of the keys of the peer's marks in a user's partition.
pub(super) const PEER_MARKS: u8 = b'p';
/// The last byte of the key of a mark of what was received.
pub(super) const RECEIVED: u8 = b'd';
/// The last byte of the key of a mark of what was read.
pub(super) const READ: u8 = b'r';

/// A mark of `id`: in a conversation's partition of a user, in a user's partition of a conversation.
pub(super) fn mark(first: u8, id: &[u8; 16], which: u8) -> Bytes {
    [&[first], &id[..], &[which]].concat().into()
}

/// Of which id it is a mark, and which.
pub(super) fn split_mark(key: &[u8]) -> Option<(u128, u8)> {
    let (id, which) = key.get(1..)?.split_first_chunk::<16>()?;
    match which {
        &[which] => Some((u128::from_be_bytes(*id), which)),
        _ => None,
    }
}

/// The relation of the two users of a direct conversation.
pub(super) const RELATION: &[u8] = b"r";

/// The first byte of the keys of the marks of a user's contacts.
pub(super) const CONTACTS: u8 = b'r';

/// The mark of a user's contact.
pub(super) fn contact(user: UserId) -> Bytes {
    [&[CONTACTS], &user.as_bytes()[..]].concat().into()
}

/// The user of a key that [`contact`] made.
pub(super) fn split_contact(key: &[u8]) -> Option<UserId> {
    let id: [u8; 16] = key.get(1..)?.try_into().ok()?;
    Some(UserId::from_u128(u128::from_be_bytes(id)))
}

/// The first byte of the rows of links into a conversation.
pub(super) const LINKS: u8 = b'i';

/// A link into a conversation.
pub(super) fn link(secret: Uuid) -> Bytes {
    [&[LINKS], &secret.as_bytes()[..]].concat().into()
}

/// The secret of a key that [`link`] made.
pub(super) fn split_link(key: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(key.get(1..)?).ok()
}

/// The first byte of the keys of the marks that say when a user hid messages.
pub(super) const HIDDEN_TIMES: u8 = b'h';

/// The mark that says when the user hid a message of a conversation last.
pub(super) fn hidden_at(conversation: ConversationId) -> Bytes {
    of_conversation(HIDDEN_TIMES, conversation)
}

/// The first byte of the keys of the marks that say when the other one of a direct conversation changed their profile.
pub(super) const PEER_CHANGES: u8 = b'f';

/// The mark that says when the other one of a direct conversation changed their profile last.
pub(super) fn peer_changed_at(conversation: ConversationId) -> Bytes {
    of_conversation(PEER_CHANGES, conversation)
}

/// The mark that says when a user was seen last.
pub(super) const LAST_SEEN: &[u8] = b"s";

/// The n-th message that a user hid, from 1.
pub(super) fn hidden_nth(n: u64) -> [u8; 9] {
    numbered(b'n', n)
}

/// A message that a user hid.
pub(super) fn hidden_seq(seq: Seq) -> [u8; 9] {
    numbered(b's', seq.0)
}

/// The first byte of the keys of drafts on hold.
pub(super) const HELD: u8 = b'd';
/// The first byte of the keys of rejected drafts.
pub(super) const REJECTED: u8 = b'r';

/// A draft on hold.
pub(super) fn held(sender: UserId, client: ClientId) -> [u8; 33] {
    draft(HELD, sender, client)
}

/// A draft that was on hold and rejected.
pub(super) fn rejected(sender: UserId, client: ClientId) -> [u8; 33] {
    draft(REJECTED, sender, client)
}

fn draft(first: u8, sender: UserId, client: ClientId) -> [u8; 33] {
    let mut key = [first; 33];
    key[1..17].copy_from_slice(sender.as_bytes());
    key[17..].copy_from_slice(client.as_bytes());
    key
}

/// Sender and client id of a key that [`held`] or [`rejected`] made.
pub(super) fn split_draft(key: &[u8]) -> Option<(UserId, ClientId)> {
    let (sender, client) = key.get(1..)?.split_first_chunk::<16>()?;
    let client = u128::from_be_bytes(client.try_into().ok()?);
    Some((UserId::from_u128(u128::from_be_bytes(*sender)), ClientId::from_u128(client)))
}

/// The first byte of the keys of the notes of a user's drafts on hold.
pub(super) const HELD_NOTES: u8 = b'w';

/// The note that a user has a draft on hold in a conversation.
pub(super) fn held_note(conversation: ConversationId, client: ClientId) -> Bytes {
    [&[HELD_NOTES], &conversation.as_bytes()[..], client.as_bytes()].concat().into()
}

/// The conversation of a key that [`held_note`] made.
pub(super) fn split_held_note(key: &[u8]) -> Option<ConversationId> {
    let (conversation, _) = key.get(1..)?.split_first_chunk::<16>()?;
    Some(ConversationId::from_u128(u128::from_be_bytes(*conversation)))
}

/// The timer of a conversation.
pub(super) fn timer(at: Ms, conversation: ConversationId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&at.0.to_be_bytes());
    key[8..].copy_from_slice(conversation.as_bytes());
    key
}

/// Time and conversation of a key that [`timer`] made.
pub(super) fn split_timer(key: &[u8]) -> Option<(Ms, ConversationId)> {
    let (at, conversation) = key.split_first_chunk::<8>()?;
    let conversation = u128::from_be_bytes(conversation.try_into().ok()?);
    Some((Ms(u64::from_be_bytes(*at)), ConversationId::from_u128(conversation)))
}

/// The timer of a notification that was put off.
pub(super) fn deferral_timer(at: Ms, user: UserId, conversation: ConversationId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&at.0.to_be_bytes());
    key[8..24].copy_from_slice(user.as_bytes());
    key[24..].copy_from_slice(conversation.as_bytes());
    key
}

/// Time, user and conversation of a key that [`deferral_timer`] made.
pub(super) fn split_deferral_timer(key: &[u8]) -> Option<(Ms, UserId, ConversationId)> {
    let (at, rest) = key.split_first_chunk::<8>()?;
    let (user, conversation) = rest.split_first_chunk::<16>()?;
    let conversation = u128::from_be_bytes(conversation.try_into().ok()?);
    let user = UserId::from_u128(u128::from_be_bytes(*user));
    Some((Ms(u64::from_be_bytes(*at)), user, ConversationId::from_u128(conversation)))
}

/// The first byte of the keys of the notifications that were put off for a user.
pub(super) const DEFERRED: u8 = b'l';

/// The notification of a conversation that was put off for a user.
pub(super) fn deferred(conversation: ConversationId) -> Bytes {
    of_conversation(DEFERRED, conversation)
}

/// A user's account.
pub(super) const ACCOUNT: &[u8] = b"a";

/// The first byte of the rows of a user's list.
pub(super) const LISTED: u8 = b'c';

/// A row of a user's list of conversations.
pub(super) fn listed(conversation: ConversationId) -> Bytes {
    of_conversation(LISTED, conversation)
}

/// The first byte of the rows of a user's settings.
pub(super) const SETTINGS: u8 = b's';

/// What a user set for themselves in a conversation.
pub(super) fn settings(conversation: ConversationId) -> Bytes {
    of_conversation(SETTINGS, conversation)
}

fn of_conversation(first: u8, conversation: ConversationId) -> Bytes {
    [&[first], &conversation.as_bytes()[..]].concat().into()
}

/// The conversation of a key that [`listed`], [`hidden_at`], [`peer_changed_at`] or [`settings`] made.
pub(super) fn split_conversation(key: &[u8]) -> Option<ConversationId> {
    let id: [u8; 16] = key.get(1..)?.try_into().ok()?;
    Some(ConversationId::from_u128(u128::from_be_bytes(id)))
}

/// The one row of a claim, a login and the epoch, and the roster itself.
pub(super) const ONE: &[u8] = b"a";

/// The mark with the bound of the times of change.
pub(super) const CHANGE_BOUND: &[u8] = b"b";

/// The composition of a generation.
pub(super) fn composition(generation: Generation) -> Bytes {
    [b"g", &generation.0.to_be_bytes()[..]].concat().into()
}

/// A secret.
pub(super) fn secret(name: &str) -> Bytes {
    [b"n", name.as_bytes()].concat().into()
}

/// The name of a key that [`secret`] made.
pub(super) fn split_secret(key: &[u8]) -> Option<String> {
    String::from_utf8(key.strip_prefix(b"n")?.to_vec()).ok()
}

/// How long a component is; sorts before its parts.
pub(super) const LENGTH: &[u8] = b"a";

/// A part of a component.
pub(super) fn part(index: u32) -> Bytes {
    [b"p", &index.to_be_bytes()[..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_after_every_4096th_entry() {
        for (number, expected) in [(0, 0), (1, 0), (4_096, 0), (4_097, 1), (8_192, 1), (8_193, 2)] {
            assert_eq!(bucket(number), expected, "{number}");
        }
        for index in [0, 1, 7] {
            assert_eq!((bucket(first(index)), bucket(last(index))), (index, index));
            assert_eq!(first(index + 1), last(index) + 1);
        }
    }

    #[test]
    fn younger_client_ids_sort_first_and_are_read_as_written() {
        let (user, older, younger) = (UserId::from_u128(9), ClientId::from_u128(5), ClientId::from_u128(6));
        assert!(sent(user, younger) < sent(user, older));
        assert_eq!(split_sent(&sent(user, older)), Some((user, older)));
    }

    #[test]
    fn a_reaction_is_read_as_written_and_no_emoji_begins_another() {
        let user = UserId::from_u128(u128::MAX);
        for emoji in ["", "a", "ab", "\u{0}", &"x".repeat(EMOJI_BYTES_MAX)] {
            assert_eq!(split_reaction(&reaction(Seq(7), emoji, user)), Some((emoji, user)));
        }
        assert!(!reactions_with(Seq(7), "ab").starts_with(&reactions_with(Seq(7), "a")));
    }

    #[test]
    fn the_rows_of_an_append_are_neighbours() {
        let client = sent(UserId::from_u128(u128::MAX), ClientId::from_u128(0));
        assert!(entry(u64::MAX).as_slice() < HEAD && HEAD < OPENED && OPENED < client.as_slice());
    }
}
