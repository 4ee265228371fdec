//! Whom a message reaches, and with what attention: what plugins say, checked, and the built-in rule where they say
//! nothing or not in time.
//!
//! What they name and what may not read the message gets nothing. Whoever is spared hears of it by heads, so that no
//! rule touches what may be read.

use super::{Posted, Stage, built_in};
use crate::registry::{Attends, Reach};
use godwit_domain::{
    conversation::{Kind, Role},
    filter::{
        Attention, Audience, Chain, Facts, Hook, Live, MEMBERS_MAX, Notified, Place, Recipient, Scene, Spent,
    },
    id::UserId,
    message::Message,
    notification::{DEFERRED_MS_MAX, Deferred},
    time::Ms,
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Whom a message reaches, and how.
#[derive(Debug, Default)]
pub struct Plan {
    /// Those whose sessions all get it.
    pub sessions: Told,
    /// Those whose sessions get it that follow.
    pub followers: Told,
    /// Those who hear of it by heads.
    pub spared: Vec<UserId>,
    /// The notifications that are put off.
    pub later: Vec<Deferred>,
}

/// Who is alerted and who is not.
#[derive(Debug, Default)]
pub struct Told {
    pub loud: Vec<UserId>,
    pub quiet: Vec<UserId>,
}

/// Whether any plugin has a say in what becomes of messages there.
pub fn is_asked(chain: &dyn Chain, place: &Place) -> bool {
    chain.serves(Hook::FanOut, place) || chain.serves(Hook::Delivery, place)
}

/// Someone's part in a message.
#[derive(Clone, Copy)]
struct Part {
    user: UserId,
    /// `None` for who is spared.
    reach: Option<Reach>,
    notified: bool,
    attends: Attends,
}

impl Stage {
    /// Asks the plugins, within the time that they have together.
    pub(super) async fn plan(&self, posted: &Posted) -> Plan {
        let deadline = Instant::now() + Duration::from_millis(self.ports.limits.deliver_ms);
        let scene = scene(posted, self.ports.clock.now());
        let conversation = posted.message.conversation;
        let attends: Vec<_> =
            posted.audience.iter().map(|user| self.ports.router.attends(*user, conversation)).collect();
        let mut spent = Spent::default();
        let audience = self.choose(posted, &scene, &attends, &mut spent, deadline).await;
        let parts = self.parts(posted, audience.as_ref(), &attends);
        let attention = self.decide(posted, &scene, &parts, &mut spent, deadline).await;
        plan(posted, &parts, &attention, scene.now)
    }

    /// The plan where nobody is asked.
    pub(super) fn plan_unasked(&self, posted: &Posted) -> Plan {
        let attends = vec![Attends::default(); posted.audience.len()];
        let parts = self.parts(posted, None, &attends);
        plan(posted, &parts, &vec![Attention::Normal; parts.len()], self.ports.clock.now())
    }

    async fn choose(
        &self,
        posted: &Posted,
        scene: &Scene,
        attends: &[Attends],
        spent: &mut Spent,
        deadline: Instant,
    ) -> Option<Audience> {
        let (chain, place) = (&posted.chain, &posted.card.place);
        if !chain.serves(Hook::FanOut, place) {
            return None;
        }
        let count =
            |which: fn(&Attends) -> bool| attends.iter().filter(|attends| which(attends)).count() as u32;
        let audience = &posted.audience;
        let is_admin = |user: &&UserId| role(posted, **user) >= Role::Admin;
        let facts = Facts {
            follow_above: self.ports.limits.follow_above,
            member_count: audience.len() as u32,
            follower_count: count(|attends| attends.follows),
            online_count: count(|attends| attends.online),
            admins: audience.iter().filter(is_admin).copied().collect(),
            mentioned: audience.iter().copied().filter(|user| mentions(&posted.message, *user)).collect(),
            members: (audience.len() <= MEMBERS_MAX && chain.wants_members(place)).then(|| audience.to_vec()),
        };
        let asked = chain.choose(scene, &posted.message, &facts, spent);
        timeout_at(deadline, asked).await.unwrap_or_else(|_| {
            self.ports.metrics.overdue.inc();
            None
        })
    }

    /// What everyone's part is, in the order of the audience.
    fn parts(&self, posted: &Posted, audience: Option<&Audience>, attends: &[Attends]) -> Vec<Part> {
        let by_rule = built_in(&self.ports.limits, posted.audience.len());
        let followers = Reach::Followers(self.pace(posted.audience.len()));
        let set = |users: &[UserId]| users.iter().copied().collect::<HashSet<_>>();
        let live = audience.map(|audience| &audience.live);
        let named = match live {
            Some(Live::FollowersAnd(users) | Live::Only(users)) => set(users),
            _ => HashSet::new(),
        };
        let notified = audience.map(|audience| &audience.notified);
        let notified_alone = match notified {
            Some(Notified::Only(users)) => set(users),
            _ => HashSet::new(),
        };
        let sender = posted.message.sender;
        let part = |(user, attends): (&UserId, &Attends)| {
            let user = *user;
            let reach = match live {
                None => Some(by_rule),
                Some(Live::Everyone) => Some(Reach::Sessions),
                Some(Live::Followers) => Some(followers),
                Some(Live::FollowersAnd(_)) if named.contains(&user) => Some(Reach::Sessions),
                Some(Live::FollowersAnd(_)) => Some(followers),
                // A rule says whom a message reaches; the sender's other devices show what they sent.
                Some(Live::Only(_)) => (named.contains(&user) || user == sender).then_some(Reach::Sessions),
            };
            let notified = user != sender
                && match notified {
                    None | Some(Notified::Everyone) => true,
                    Some(Notified::Mentioned) => mentions(&posted.message, user),
                    Some(Notified::Only(_)) => notified_alone.contains(&user),
                    Some(Notified::Nobody) => false,
                };
            Part { user, reach, notified, attends: *attends }
        };
        posted.audience.iter().zip(attends).map(part).collect()
    }

    /// With what attention each of them hears of it, in the order of `parts`.
    async fn decide(
        &self,
        posted: &Posted,
        scene: &Scene,
        parts: &[Part],
        spent: &mut Spent,
        deadline: Instant,
    ) -> Vec<Attention> {
        let mut attention = vec![Attention::Normal; parts.len()];
        if !posted.chain.serves(Hook::Delivery, &posted.card.place) {
            return attention;
        }
        let asked = async {
            let concerned: Vec<_> =
                (0..parts.len()).filter(|index| is_concerned(&parts[*index], posted)).collect();
            let ids: Vec<_> = concerned.iter().map(|index| parts[*index].user).collect();
            let unread = |error| {
                tracing::warn!(%error, "recipients could not be read; all are alerted");
                self.ports.metrics.store_failures.inc();
            };
            let users = self.ports.people.get(&ids).await.map_err(unread)?;
            let mutes = self.mutes.get(&ids, posted.message.conversation).await.map_err(unread)?;
            let (mut recipients, mut places) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
            for (index, muted_until) in concerned.into_iter().zip(mutes) {
                let Part { user: id, attends, .. } = parts[index];
                let Some(user) = users.get(&id).cloned() else { continue };
                let mentioned = mentions(&posted.message, id);
                recipients.push(recipient(user, role(posted, id), attends, mentioned, muted_until));
                places.push(index);
            }
            if recipients.is_empty() {
                return Ok(Vec::new());
            }
            let answers = posted.chain.decide(scene, &posted.message, &recipients, spent).await;
            // The engine answers for each; who is not answered for is alerted.
            Ok::<_, ()>(places.into_iter().zip(answers).collect())
        };
        match timeout_at(deadline, asked).await {
            Ok(Ok(answers)) => answers.into_iter().for_each(|(index, answer)| attention[index] = answer),
            Ok(Err(())) => {}
            Err(_) => {
                self.ports.metrics.overdue.inc();
            }
        }
        attention
    }
}

/// Who is told as a policy sees them.
pub fn recipient(
    user: Arc<godwit_domain::user::User>,
    role: Role,
    attends: Attends,
    mentioned: bool,
    muted_until: Option<Ms>,
) -> Recipient {
    let Attends { online, active, .. } = attends;
    Recipient { user, role, online, active, mentioned, muted_until }
}

pub fn mentions(message: &Message, user: UserId) -> bool {
    message.content.mentions.contains(&user)
}

fn role(posted: &Posted, user: UserId) -> Role {
    // Of a channel those are not laid out who are readers.
    let other = if posted.card.place.kind == Kind::Channel { Role::Reader } else { Role::Member };
    posted.card.members.get(&user).map_or(other, |(role, _)| *role)
}

fn scene(posted: &Posted, now: Ms) -> Scene {
    let member = posted.card.members.get(&posted.message.sender).copied();
    Scene {
        now,
        conversation: Some(posted.card.place.clone()),
        sender: posted.sender.clone(),
        sender_role: member.map(|(role, _)| role),
        activity: posted.activity,
        via: posted.message.via.clone(),
    }
}

/// Whether a policy is asked about them: who gets it live, or is to be notified.
fn is_concerned(part: &Part, posted: &Posted) -> bool {
    let live = match part.reach {
        Some(Reach::Sessions) => true,
        Some(Reach::Followers(_)) => part.attends.follows,
        None => false,
    };
    part.user != posted.message.sender && (live || part.notified)
}

fn plan(posted: &Posted, parts: &[Part], attention: &[Attention], now: Ms) -> Plan {
    let mut plan = Plan::default();
    for (&Part { user, reach, notified, .. }, attention) in parts.iter().zip(attention) {
        let told = match reach {
            Some(Reach::Sessions) => Some(&mut plan.sessions),
            Some(Reach::Followers(_)) => Some(&mut plan.followers),
            None => None,
        };
        match told {
            Some(told) if *attention == Attention::Normal => told.loud.push(user),
            Some(told) => told.quiet.push(user),
            None => plan.spared.push(user),
        }
        if let (Attention::NotifyLater(at), true) = (attention, notified) {
            let (conversation, seq) = (posted.message.conversation, posted.message.seq);
            let due_at = (*at).min(now.plus(DEFERRED_MS_MAX));
            plan.later.push(Deferred { user, conversation, due_at, since: now, seq });
        }
    }
    plan
}
