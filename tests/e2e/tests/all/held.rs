//! Drafts on hold: stored before they are answered, listed, decided by people or by themselves, never out of order.

use super::{bodies, list};
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    admin::{Install, expect},
    client::{Client, Refusal, text},
    server::{Person, Server, UNLIMITED},
};
use godwit_fixtures::FIXTURE;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// The fixture, which holds what it could not judge, with this behaviour of its moderation.
fn moderating(behaviour: Value) -> Install {
    Install {
        id: "fixture".to_owned(),
        manifest: godwit_fixtures::manifest(FIXTURE) + "\n[failure]\nmoderation = \"hold\"\n",
        component: godwit_fixtures::component(FIXTURE),
        config: Some(json!({"moderation": behaviour})),
        ..Install::default()
    }
}

/// Holds whatever says `hmm`.
fn holding() -> Install {
    moderating(json!({"mode": "hold", "on": "hmm", "code": "unsure", "text": "Somebody looks at it."}))
}

/// Breaks down over whatever says `bait`.
fn trapping() -> Install {
    moderating(json!({"mode": "trap", "on": "bait"}))
}

struct Group {
    server: Server,
    /// Ada the owner, cleo a member.
    people: [Person; 2],
    owner: Client,
    member: Client,
    place: Uuid,
}

async fn group(plugin: Install, settings: &str) -> Result<Group> {
    let server = Server::with(&[UNLIMITED, settings].concat()).await?;
    let (ada, mut owner) = server.join("ada").await?;
    let (cleo, member) = server.join("cleo").await?;
    let place = owner.group("Waders", &[cleo.id]).await?;
    server.admin.installed(plugin).await?;
    Ok(Group { server, people: [ada, cleo], owner, member, place })
}

impl Group {
    async fn restarted(&mut self) -> Result<()> {
        self.server.kill().await?;
        self.server.restart().await?;
        self.owner = self.server.session(&self.people[0]).await?;
        self.member = self.server.session(&self.people[1]).await?;
        Ok(())
    }

    fn draft(&self, client: Uuid) -> Value {
        json!({"conversation": self.place, "sender": self.people[1].id, "client_id": client})
    }

    /// What a route about a draft of the member answers.
    async fn operate(&self, client: Uuid, act: &str, body: &Value) -> Result<(u16, Value)> {
        let (place, sender) = (self.place, self.people[1].id);
        let path = format!("/admin/v1/conversations/{place}/held/{sender}/{client}/{act}");
        self.server.admin.call(Method::POST, &path, Some(body)).await
    }

    /// The bodies that are on hold, as an operator sees them.
    async fn listed(&self) -> Result<Vec<String>> {
        let answer = self.server.admin.call(Method::GET, "/admin/v1/held", None).await?;
        let listed = expect(answer, 200)?;
        Ok(bodies(list(&listed, "held")?).into_iter().map(str::to_owned).collect())
    }

    async fn said(&mut self) -> Result<Vec<String>> {
        Ok(bodies(&self.owner.history(self.place, 0).await?).into_iter().map(str::to_owned).collect())
    }

    /// Waits until everything on hold was settled; what was said.
    async fn until_settled(&mut self) -> Result<Vec<String>> {
        let none = async || Ok(self.listed().await?.is_empty().then_some(()));
        godwit_e2e::eventually("the end of all holds", none).await?;
        self.said().await
    }
}

/// Sends what must be put on hold; its reason.
async fn hold(client: &mut Client, send: Value) -> Result<String> {
    let ok = client.request("send", send.clone()).await?;
    ensure!(ok.get("seq").is_none() && ok["conversation"] == send["conversation"], "{send} got {ok}");
    ensure!(ok["held"]["until"].is_u64(), "{ok}");
    Ok(ok["held"]["reason"].as_str().context("a reason")?.to_owned())
}

fn after(place: Uuid, client: Uuid, body: &str, after: Uuid) -> Value {
    let mut send = text(place, client, body);
    send["after"] = json!(after);
    send
}

fn ids<const N: usize>() -> [Uuid; N] {
    std::array::from_fn(|_| Uuid::now_v7())
}

#[tokio::test]
async fn a_held_draft_takes_no_number_and_is_released_by_an_admin() -> Result<()> {
    let mut all = group(holding(), "").await?;
    let mut other = all.server.session(&all.people[1]).await?;
    let [first, second] = ids();
    assert_eq!(hold(&mut all.member, text(all.place, first, "hmm 1")).await?, "Somebody looks at it.");
    hold(&mut all.member, text(all.place, second, "hmm 2")).await?;
    assert_eq!(all.member.send(all.place, "fine").await?.seq, 1, "what is held delays nobody");
    hold(&mut all.member, text(all.place, first, "hmm 1")).await.context("a retry")?;
    let reused = all.member.refused("send", text(all.place, first, "hmm 3")).await?;
    assert_eq!(reused.code, "client_id_reused");

    let asked = json!({"conversation": all.place});
    let listed = all.owner.request("held", asked.clone()).await?;
    let [one, _] = &list(&listed, "held")?[..] else { anyhow::bail!("{listed}") };
    let expected = (&json!(all.people[1].id), &json!(first), &json!("hmm 1"), &json!("text"));
    assert_eq!((&one["sender"], &one["client_id"], &one["body"], &one["kind"]), expected);
    let own = all.member.request("held", asked).await?;
    assert_eq!(bodies(list(&own, "held")?), ["hmm 1", "hmm 2"], "one's own");
    let draft = all.draft(first);
    assert_eq!(all.member.refused("release", draft.clone()).await?.code, "forbidden");
    assert_eq!(all.member.refused("reject", draft.clone()).await?.code, "forbidden");

    let released = all.owner.request("release", draft.clone()).await?;
    assert_eq!(released["seq"], 2);
    for session in [&mut all.member, &mut other] {
        let told = session.push("verdict").await?;
        let sent_at = &released["sent_at"];
        let verdict = json!({"conversation": all.place, "client_id": first, "seq": 2, "sent_at": sent_at});
        assert_eq!(told, verdict);
        let pushed = loop {
            let pushed = session.push("message").await?;
            if pushed["seq"] == 2 {
                break pushed;
            }
        };
        assert_eq!((&pushed["body"], &pushed["client_id"]), (&json!("hmm 1"), &json!(first)));
    }
    assert_eq!(all.owner.refused("release", draft).await?.code, "not_found");
    let again = all.member.send_as(all.place, first, "hmm 1").await?;
    assert_eq!((again.seq, again.duplicate), (2, true), "the final answer");
    assert_eq!(all.said().await?, ["fine", "hmm 1"]);
    let trace = all.server.admin.trace(all.place, 2).await?;
    let decisions: Vec<_> = list(&trace, "plugins")?.iter().map(|step| &step["decision"]).collect();
    assert_eq!(decisions, ["allow", "hold"]);
    Ok(())
}

#[tokio::test]
async fn a_rejection_is_final_told_and_remembered() -> Result<()> {
    let mut all = group(holding(), "").await?;
    let [first, second] = ids();
    for client in [first, second] {
        hold(&mut all.member, text(all.place, client, "hmm")).await?;
    }
    let long = json!({"reason": "x".repeat(501)});
    assert_eq!(all.operate(first, "reject", &long).await?.0, 400);
    expect(all.operate(first, "reject", &json!({"reason": "Not here."})).await?, 200)?;
    all.owner.request("reject", all.draft(second)).await?;
    for (client, reason) in [(first, "Not here."), (second, "a moderator rejected this message")] {
        let told = all.member.push("verdict").await?;
        let verdict = json!({"conversation": all.place, "client_id": client, "rejected": reason});
        assert_eq!(told, verdict);
    }
    assert_eq!(all.operate(first, "release", &json!({})).await?.0, 404);
    for restart in [false, true] {
        if restart {
            all.restarted().await?;
        }
        let again = all.member.refused("send", text(all.place, first, "hmm")).await?;
        assert_eq!((again.code.as_str(), again.temporary), ("moderated", false));
        assert_eq!((again.message.as_str(), again.field.as_deref()), ("Not here.", Some("rejected")));
        let other = all.member.refused("send", text(all.place, first, "fine")).await?;
        assert_eq!(other.code, "client_id_reused");
    }
    assert_eq!(all.member.send(all.place, "fine").await?.seq, 1);
    assert!(all.listed().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn who_left_has_nothing_released_and_what_plugins_reject_meanwhile_is_rejected() -> Result<()> {
    let mut all = group(holding(), "").await?;
    let [first, second, third] = ids();
    for client in [first, second, third] {
        hold(&mut all.member, text(all.place, client, "hmm")).await?;
    }
    let strict = moderating(json!({"mode": "reject", "on": "hmm", "code": "language", "text": "No."}));
    all.server.admin.installed(strict).await?;
    let refusal = all.owner.refused("release", all.draft(first)).await?;
    assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("moderated", Some("language")));
    assert_eq!(all.member.push("verdict").await?["rejected"], "No.");
    all.server.admin.installed(trapping()).await?;
    let remove = json!({"conversation": all.place, "user": all.people[1].id});
    all.owner.request("remove", remove).await?;
    assert_eq!(all.owner.refused("release", all.draft(second)).await?.code, "not_member");
    assert_eq!(all.member.push("verdict").await?["client_id"], json!(second));
    // Nothing was decided about the last one, and who comes back may have it released.
    let invite = json!({"conversation": all.place, "users": [all.people[1].id]});
    all.owner.request("invite", invite).await?;
    assert_eq!(all.owner.request("release", all.draft(third)).await?["seq"], 1);
    Ok(())
}

#[tokio::test]
async fn what_comes_after_a_held_draft_waits_behind_it_and_falls_with_it() -> Result<()> {
    let mut all = group(holding(), "").await?;
    let [a, b, c, d, e] = ids();
    hold(&mut all.member, text(all.place, a, "hmm a")).await?;
    let reason = hold(&mut all.member, after(all.place, b, "b", a)).await?;
    ensure!(reason.contains("behind"), "{reason}");
    hold(&mut all.member, after(all.place, c, "hmm c", b)).await?;
    hold(&mut all.member, after(all.place, d, "d", c)).await?;
    all.member.send(all.place, "free").await?;
    let early = all.owner.refused("release", all.draft(c)).await?;
    assert_eq!(early.code, "conflict", "the earlier one first");
    assert_eq!(all.owner.request("release", all.draft(a)).await?["seq"], 2);
    // What needs nobody's word goes on by itself; what does, does not.
    assert_eq!(all.member.push("verdict").await?["client_id"], json!(a));
    let verdict = all.member.push("verdict").await?;
    assert_eq!((&verdict["client_id"], &verdict["seq"]), (&json!(b), &json!(3)));
    assert_eq!(all.listed().await?, ["hmm c", "d"]);
    all.owner.request("reject", all.draft(c)).await?;
    assert_eq!(all.member.push("verdict").await?["client_id"], json!(c));
    assert_eq!(all.member.push("verdict").await?["client_id"], json!(d));
    let fallen = all.member.refused("send", after(all.place, d, "d", c)).await?;
    assert_eq!(fallen.code, "out_of_turn");
    let late = all.member.refused("send", after(all.place, e, "e", d)).await?;
    assert_eq!(late.code, "out_of_turn");
    assert_eq!(all.said().await?, ["free", "hmm a", "b"]);
    Ok(())
}

#[tokio::test]
async fn what_could_not_be_judged_is_judged_again_by_itself_and_nothing_overtakes_it() -> Result<()> {
    let mut all = group(trapping(), "").await?;
    let [a, b, c, d] = ids();
    hold(&mut all.member, text(all.place, a, "bait a")).await?;
    hold(&mut all.member, text(all.place, b, "b")).await?;
    hold(&mut all.member, after(all.place, c, "bait c", b)).await?;
    assert_eq!(all.owner.send(all.place, "another's").await?.seq, 1, "it is the sender's order alone");
    let refusal = all.owner.refused("release", all.draft(a)).await?;
    assert_eq!((refusal.code.as_str(), refusal.temporary), ("unavailable", true), "it must be heard");
    all.restarted().await?;
    hold(&mut all.member, text(all.place, d, "d")).await?;
    assert_eq!(all.listed().await?, ["bait a", "b", "bait c", "d"]);
    // The plugin that works stamps what it sees: each is seen as it was sent, once.
    let mut working = moderating(json!({"mode": "hold", "on": "c"}));
    working.config = Some(json!({"moderation": {"mode": "hold", "on": "c"},
        "normalise": {"mode": "stamp", "marker": "seen:"}}));
    all.server.admin.installed(working).await?;
    for (client, seq) in [(a, 2), (b, 3), (d, 4)] {
        let verdict = all.member.push("verdict").await?;
        assert_eq!((&verdict["client_id"], &verdict["seq"]), (&json!(client), &json!(seq)));
    }
    assert_eq!(all.listed().await?, ["bait c"], "now a person is wanted, and what follows is not delayed");
    assert_eq!(all.owner.request("release", all.draft(c)).await?["seq"], 5);
    assert_eq!(all.said().await?, ["another's", "seen: bait a", "seen: b", "seen: d", "seen: bait c"]);
    Ok(())
}

#[tokio::test]
async fn a_hold_ends_with_a_rejection_when_nobody_decides_in_time() -> Result<()> {
    let mut all = group(holding(), "hold_max_s = 1\n").await?;
    let [first, second] = ids();
    hold(&mut all.member, text(all.place, first, "hmm")).await?;
    let verdict = all.member.push("verdict").await?;
    assert_eq!(verdict["client_id"], json!(first));
    ensure!(verdict["rejected"].is_string(), "{verdict}");
    let again = all.member.refused("send", text(all.place, first, "hmm")).await?;
    assert_eq!((again.code.as_str(), again.field.as_deref()), ("moderated", Some("hold_expired")));
    // Also where the host was away when its time came.
    hold(&mut all.member, text(all.place, second, "hmm")).await?;
    all.restarted().await?;
    assert!(all.until_settled().await?.is_empty());
    let again = all.member.refused("send", text(all.place, second, "hmm")).await?;
    assert_eq!(again.field.as_deref(), Some("hold_expired"));
    Ok(())
}

#[tokio::test]
async fn what_is_held_survives_a_kill_in_every_state() -> Result<()> {
    let mut all = group(holding(), "").await?;
    let [a, b, c, d] = ids();
    for (client, body) in [(a, "hmm a"), (b, "hmm b"), (c, "hmm c")] {
        hold(&mut all.member, text(all.place, client, body)).await?;
    }
    hold(&mut all.member, after(all.place, d, "d", c)).await?;
    all.restarted().await?;
    let held = list(&all.member.connected, "held")?.clone();
    let known: Vec<_> = held.iter().map(|held| held["client_id"].clone()).collect();
    assert_eq!(known, [json!(a), json!(b), json!(c), json!(d)]);
    assert_eq!(held[0]["reason"], "Somebody looks at it.");
    assert!(list(&all.owner.connected, "held")?.is_empty());
    hold(&mut all.member, text(all.place, a, "hmm a")).await.context("a retry after the kill")?;
    assert_eq!(all.owner.request("release", all.draft(a)).await?["seq"], 1);
    all.restarted().await?;
    let again = all.member.send_as(all.place, a, "hmm a").await?;
    assert_eq!((again.seq, again.duplicate), (1, true));
    all.owner.request("reject", all.draft(b)).await?;
    all.restarted().await?;
    assert_eq!(all.member.refused("send", text(all.place, b, "hmm b")).await?.code, "moderated");
    assert_eq!(list(&all.member.connected, "held")?.len(), 2);
    assert_eq!(all.listed().await?, ["hmm c", "d"]);
    expect(all.operate(c, "release", &json!({})).await?, 200)?;
    all.restarted().await?;
    assert_eq!(all.until_settled().await?, ["hmm a", "hmm c", "d"]);
    assert!(list(&all.server.session(&all.people[1]).await?.connected, "held")?.is_empty());
    Ok(())
}

#[tokio::test]
async fn in_a_direct_conversation_operators_alone_decide() -> Result<()> {
    let mut all = group(holding(), "").await?;
    let client = Uuid::now_v7();
    // The conversation is made for it, and is empty until then.
    let send = json!({"to": all.people[0].id, "client_id": client, "body": "hmm"});
    let place = godwit_e2e::admin::id(&all.member.request("send", send.clone()).await?["conversation"])?;
    all.place = place;
    assert!(all.said().await?.is_empty());
    for person in [&mut all.owner, &mut all.member] {
        let draft = json!({"conversation": place, "sender": all.people[1].id, "client_id": client});
        assert_eq!(person.refused("release", draft).await?.code, "forbidden");
    }
    let listed = all.owner.request("held", json!({"conversation": place})).await?;
    assert!(list(&listed, "held")?.is_empty(), "one's own alone");
    let released = expect(all.operate(client, "release", &json!({})).await?, 200)?;
    assert_eq!(released["seq"], 1);
    assert_eq!(all.said().await?, ["hmm"]);
    Ok(())
}

#[tokio::test]
async fn lists_go_page_by_page_and_show_strangers_nothing() -> Result<()> {
    let mut all = group(holding(), "").await?;
    for n in 0..5 {
        hold(&mut all.member, text(all.place, Uuid::now_v7(), &format!("hmm {n}"))).await?;
    }
    let elsewhere = all.owner.direct(all.people[0].id).await?;
    hold(&mut all.owner, text(elsewhere, Uuid::now_v7(), "hmm notes")).await?;
    let (mut page, mut seen) = (Value::Null, Vec::new());
    loop {
        let asked = json!({"conversation": all.place, "limit": 2, "page": page});
        let listed = all.owner.request("held", asked).await?;
        seen.extend(bodies(list(&listed, "held")?).into_iter().map(str::to_owned));
        page = listed["next"].clone();
        if page == Value::Null {
            break;
        }
    }
    assert_eq!(seen, ["hmm 0", "hmm 1", "hmm 2", "hmm 3", "hmm 4"]);
    let (mut path, mut seen) = ("/admin/v1/held?limit=4".to_owned(), Vec::new());
    loop {
        let listed = expect(all.server.admin.call(Method::GET, &path, None).await?, 200)?;
        seen.extend(bodies(list(&listed, "held")?).into_iter().map(str::to_owned));
        let Some(next) = listed["next"].as_str() else { break };
        path = format!("/admin/v1/held?limit=4&page={next}");
    }
    seen.sort();
    assert_eq!(seen, ["hmm 0", "hmm 1", "hmm 2", "hmm 3", "hmm 4", "hmm notes"]);
    let path = format!("/admin/v1/conversations/{}/held", all.place);
    let listed = expect(all.server.admin.call(Method::GET, &path, None).await?, 200)?;
    assert_eq!(list(&listed, "held")?.len(), 5);
    for page in ["x", "1.x"] {
        let (status, _) =
            all.server.admin.call(Method::GET, &format!("/admin/v1/held?page={page}"), None).await?;
        assert_eq!(status, 400);
    }
    let (_, mut stranger) = all.server.join("dora").await?;
    let asked = json!({"conversation": all.place});
    for (name, payload) in
        [("held", asked), ("release", all.draft(Uuid::now_v7())), ("reject", all.draft(Uuid::now_v7()))]
    {
        assert_eq!(stranger.refused(name, payload).await?.code, "not_found");
    }
    Ok(())
}

#[tokio::test]
async fn holds_have_a_limit_and_nothing_but_a_message_is_held() -> Result<()> {
    let mut all = group(holding(), "held_max = 2\n").await?;
    for _ in 0..2 {
        hold(&mut all.member, text(all.place, Uuid::now_v7(), "hmm")).await?;
    }
    let client = Uuid::now_v7();
    let Refusal { code, temporary, message, .. } =
        all.member.refused("send", text(all.place, client, "hmm")).await?;
    assert_eq!((code.as_str(), temporary), ("rate_limited", true));
    ensure!(message.contains('2'), "{message}");
    assert_eq!(all.member.send_as(all.place, client, "fine").await?.seq, 1, "it left no trace");
    let edit = json!({"conversation": all.place, "seq": 1, "body": "hmm"});
    let refusal = all.member.refused("edit", edit).await?;
    assert_eq!((refusal.code.as_str(), refusal.temporary), ("unavailable", true));
    assert_eq!(all.said().await?, ["fine"]);
    Ok(())
}
