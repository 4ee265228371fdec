//! Lists of a user's conversations: the newest, and those that changed since a cursor.

use crate::{
    host::Host,
    sequencer::{Standing, View},
    view::Place,
};
use futures_util::future::join_all;
use godwit_domain::{
    conversation::{Head, Listed},
    id::{ConversationId, UserId},
    time::Ms,
    user::User,
};
use godwit_protocol::error::{Code, Error};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The most bytes of newest messages in one list: a frame of the server has up to 1 MiB.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// A conversation as the user sees it, with the other one of a direct conversation.
pub type Shown = (View, Option<Arc<User>>);

/// The user's conversations, newest first, after a place: up to `limit` of them, and where to go on. With `archived`
/// those alone that are, or are not.
///
/// # Errors
/// That of the store.
pub async fn newest(
    host: &Host,
    user: UserId,
    after: Option<Place>,
    limit: usize,
    archived: Option<bool>,
) -> Result<(Vec<Shown>, Option<Place>), Error> {
    let tables = &host.parts.conversations;
    let mut listed = tables.listed(user).await?;
    listed.retain(|listed| {
        listed.present && archived.is_none_or(|archived| listed.settings.archived == archived)
    });
    let heads = heads(host, &listed).await?;
    let mut places = Vec::with_capacity(listed.len());
    for (listed, head) in listed.into_iter().zip(heads) {
        let head = match head {
            None => being_made(host, user, listed.conversation).await?,
            known => known,
        };
        let place = head.map(|head| Place { changed_at: head.changed_at, conversation: listed.conversation });
        places.extend(place.map(|place| (place, listed)));
    }
    places.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    let from = after.map_or(0, |after| places.partition_point(|(place, _)| *place >= after));
    let page = &places[from..places.len().min(from.saturating_add(limit))];
    let shown = views(host, user, page.iter().map(|(_, listed)| listed), true).await?;
    let more = from + shown.taken < places.len();
    let next = page[..shown.taken].last().map(|(place, _)| *place).filter(|_| more);
    Ok((with_peers(host, shown.views).await?, next))
}

/// The user's conversations in which anything changed after `since`, in order of their ids after `after`: up to
/// `limit` of them, and where to go on. Those that were left are among them.
///
/// # Errors
/// That of the store.
pub async fn changed(
    host: &Host,
    user: UserId,
    since: Ms,
    after: Option<ConversationId>,
    limit: usize,
) -> Result<(Vec<Shown>, Option<ConversationId>), Error> {
    let mut listed = host.parts.conversations.listed(user).await?;
    listed.retain(|listed| after.is_none_or(|after| listed.conversation > after));
    let heads = heads(host, &listed).await?;
    let changed = listed.into_iter().zip(heads).filter(|(listed, head)| {
        let moved = head
            .filter(|_| listed.present)
            .map_or(Ms::default(), |head| head.revised_at.max(head.changed_at));
        listed.touched_at().max(moved) > since
    });
    let mut changed: Vec<_> = changed.map(|(listed, _)| listed).collect();
    changed.sort_unstable_by_key(|listed| listed.conversation);
    let page = &changed[..changed.len().min(limit)];
    let shown = views(host, user, page.iter(), false).await?;
    let more = shown.taken < changed.len();
    let last = page[..shown.taken].last().filter(|_| more);
    let next = last.map(|listed| listed.conversation);
    Ok((with_peers(host, shown.views).await?, next))
}

/// Where a conversation stands that is listed and has no head: it is being made, or was to be when the host died.
/// Looking at it finishes that, under a time that lies below the cursors of now: who is not told here never is.
async fn being_made(host: &Host, user: UserId, conversation: ConversationId) -> Result<Option<Head>, Error> {
    match host.sequencer.view(conversation, user).await {
        Ok(view) => Ok(Some(view.head)),
        Err(error) if matches!(error.code, Code::NotFound | Code::NotMember) => Ok(None),
        // What this host could not settle yet holds its time, and is shown when it can.
        Err(error) if error.code == Code::Unavailable => Ok(None),
        Err(error) => Err(error),
    }
}

async fn heads(host: &Host, listed: &[Listed]) -> Result<Vec<Option<Head>>, Error> {
    let ids: Vec<_> = listed.iter().map(|listed| listed.conversation).collect();
    Ok(host.parts.conversations.heads(&ids).await?)
}

/// One conversation as the user sees it.
///
/// # Errors
/// `not_found`, or that of the store.
pub async fn one(host: &Host, user: UserId, conversation: ConversationId) -> Result<Shown, Error> {
    let view = host.sequencer.view(conversation, user).await?;
    shown(host, user, view).await
}

/// A view of a conversation with what stands in the user's own rows.
///
/// # Errors
/// That of the store.
pub async fn shown(host: &Host, user: UserId, mut view: View) -> Result<Shown, Error> {
    view.hidden = host.parts.conversations.hidden_count(user, view.meta.id).await?;
    let settings = host.parts.conversations.settings(&[(user, view.meta.id)]).await?;
    view.settings = settings.into_iter().next().unwrap_or_default();
    with_peers(host, vec![view]).await?.pop().ok_or_else(Error::not_found)
}

struct Views {
    views: Vec<View>,
    /// How many of those that were asked for: fewer where they are too large together.
    taken: usize,
}

async fn views(
    host: &Host,
    user: UserId,
    page: impl Iterator<Item = &Listed>,
    present: bool,
) -> Result<Views, Error> {
    let asked = page.map(|listed| async move {
        let view = host.sequencer.view(listed.conversation, user).await?;
        // Most never hid anything there, which costs no read.
        let hidden = match listed.hidden_at == Ms::default() {
            true => 0,
            false => host.parts.conversations.hidden_count(user, listed.conversation).await?,
        };
        Ok::<_, Error>(View { hidden, settings: listed.settings.clone(), ..view })
    });
    let (mut views, mut taken, mut bytes) = (Vec::new(), 0, 0);
    for view in join_all(asked).await {
        match view {
            // Left meanwhile; or was to come in, and a crash came first.
            Ok(view) if present && view.standing != Standing::In => {}
            Ok(view) if view.standing == Standing::Outside => {}
            Ok(view) => {
                bytes += view.last.as_ref().map_or(0, |last| last.content.body.len());
                if bytes > PAGE_BYTES_MAX && !views.is_empty() {
                    break;
                }
                views.push(view);
            }
            Err(error) if matches!(error.code, Code::NotFound | Code::NotMember) => {}
            Err(error) => return Err(error),
        }
        taken += 1;
    }
    Ok(Views { views, taken })
}

/// Adds the other one of direct conversations.
async fn with_peers(host: &Host, views: Vec<View>) -> Result<Vec<Shown>, Error> {
    let ids: HashSet<_> = views.iter().filter_map(|view| view.peer.map(|(peer, _)| peer)).collect();
    if ids.is_empty() {
        return Ok(views.into_iter().map(|view| (view, None)).collect());
    }
    let ids: Vec<_> = ids.into_iter().collect();
    let users = host.parts.accounts.users(&ids).await?;
    let users: HashMap<_, _> = users.into_iter().map(|user| (user.id, Arc::new(user))).collect();
    let with_peer = |view: View| {
        let peer = view.peer.and_then(|(peer, _)| users.get(&peer).cloned());
        (view, peer)
    };
    Ok(views.into_iter().map(with_peer).collect())
}
