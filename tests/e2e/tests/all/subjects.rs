//! What goes past moderation beside messages: titles, reactions, edits, names. Nothing that people read goes round it.

use super::bodies;
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    admin::{Install, expect},
    client::{Client, Refusal},
    server::{Person, Server, UNLIMITED},
};
use godwit_fixtures::FIXTURE;
use serde_json::{Value, json};
use uuid::Uuid;

const OPEN: &str = "\n[auth]\nregistration = true\nhash_memory_kib = 64\nhash_passes = 1\n";

/// The fixture with this behaviour of its moderation; what it cannot judge it would hold.
fn moderating(behaviour: Value) -> Install {
    Install {
        id: "fixture".to_owned(),
        manifest: godwit_fixtures::manifest(FIXTURE) + "\n[failure]\nmoderation = \"hold\"\n",
        component: godwit_fixtures::component(FIXTURE),
        config: Some(json!({"moderation": behaviour})),
        ..Install::default()
    }
}

/// Refuses whatever says `bad`, of that kind alone.
fn rejecting(subject: &str) -> Install {
    let text = format!("no such {subject}");
    moderating(json!({"mode": "reject", "on": "bad", "subject": subject, "code": subject, "text": text}))
}

struct Group {
    server: Server,
    ada: Client,
    ben: Person,
    place: Uuid,
}

/// Ada's group with ben in it, called `Waders`, with one message.
async fn group() -> Result<Group> {
    let server = Server::with(&[UNLIMITED, OPEN].concat()).await?;
    let (_, mut ada) = server.join("ada").await?;
    let ben = server.person("ben").await?;
    let place = ada.group("Waders", &[ben.id]).await?;
    ada.send(place, "first").await?;
    Ok(Group { server, ada, ben, place })
}

/// A refusal by the plugin's decision.
fn check_moderated(refusal: &Refusal, subject: &str) {
    assert_eq!((refusal.code.as_str(), refusal.temporary), ("moderated", false), "{refusal}");
    assert_eq!(refusal.field.as_deref(), Some(subject));
    assert_eq!(refusal.message, format!("no such {subject}"));
}

impl Group {
    async fn shown(&mut self) -> Result<Value> {
        let ok = self.ada.request("conversation", json!({"conversation": self.place})).await?;
        Ok(ok["conversation"].clone())
    }

    async fn said(&mut self) -> Result<Vec<Value>> {
        self.ada.history(self.place, 0).await
    }
}

fn create(client: Uuid, title: &str) -> Value {
    json!({"kind": "group", "client_id": client, "title": title})
}

#[tokio::test]
async fn a_title_that_a_plugin_refuses_is_not_taken() -> Result<()> {
    let mut all = group().await?;
    let made_before = Uuid::now_v7();
    let made = all.ada.request("create", create(made_before, "bad before")).await?;
    all.server.admin.installed(rejecting("title")).await?;
    let update = |title: &str| json!({"conversation": all.place, "title": title});
    let (bad, good) = (update("bad Waders"), update("Gulls"));
    check_moderated(&all.ada.refused("update", bad).await?, "title");
    assert_eq!(all.shown().await?["title"], "Waders");
    all.ada.request("update", good).await?;
    assert_eq!(all.shown().await?["title"], "Gulls");
    let client = Uuid::now_v7();
    check_moderated(&all.ada.refused("create", create(client, "bad birds")).await?, "title");
    let ok = all.ada.request("create", create(client, "good birds")).await?;
    assert_eq!(ok["conversation"]["title"], "good birds", "what was refused left no trace");
    let again = all.ada.request("create", create(made_before, "bad before")).await?;
    assert_eq!(again["conversation"]["id"], made["conversation"]["id"], "a repeat gets what was made");
    // Other changes of the conversation have nothing to read.
    all.ada.request("update", json!({"conversation": all.place, "open": true})).await?;
    Ok(())
}

#[tokio::test]
async fn a_reaction_that_a_plugin_refuses_is_not_counted_and_can_always_be_taken_back() -> Result<()> {
    let mut all = group().await?;
    let react = |emoji: &str, on| json!({"conversation": all.place, "seq": 1, "emoji": emoji, "on": on});
    let (bad, off, good) = (react("bad", true), react("bad", false), react("+1", true));
    let mut once = bad.clone();
    once["client_id"] = json!(Uuid::now_v7());
    let first = all.ada.request("react", once.clone()).await?;
    all.server.admin.installed(rejecting("reaction")).await?;
    let mut ben = all.server.session(&all.ben).await?;
    check_moderated(&ben.refused("react", bad).await?, "reaction");
    ben.request("react", good).await?;
    assert_eq!(all.said().await?[0]["reactions"], json!({"bad": 1, "+1": 1}));
    assert_eq!(all.ada.request("react", once).await?, first, "a repeat gets its first answer");
    all.ada.request("react", off).await?;
    assert_eq!(all.said().await?[0]["reactions"], json!({"+1": 1}));
    Ok(())
}

#[tokio::test]
async fn an_edit_is_judged_as_one_and_leaves_the_message_where_it_is_refused() -> Result<()> {
    let mut all = group().await?;
    let edit = |seq: u64, body: &str| json!({"conversation": all.place, "seq": seq, "body": body});
    let (bad, good, others) = (edit(1, "bad"), edit(1, "better"), edit(1, "bad, by ben"));
    let mut once = edit(1, "bad once");
    once["client_id"] = json!(Uuid::now_v7());
    let first = all.ada.request("edit", once.clone()).await?;
    let mut install = rejecting("edit");
    install.config.as_mut().context("it has one")?["moderation"]["original"] = json!("once");
    install.config.as_mut().context("it has one")?["normalise"] = json!({"mode": "stamp", "marker": "v7"});
    all.server.admin.installed(install).await?;
    check_moderated(&all.ada.refused("edit", bad.clone()).await?, "edit");
    assert_eq!(bodies(&all.said().await?), ["bad once"]);
    assert_eq!(all.ada.request("edit", once).await?, first, "a repeat gets its first answer");
    let mut ben = all.server.session(&all.ben).await?;
    let refusal = ben.refused("edit", others).await?;
    assert_eq!(refusal.code, "forbidden", "it is nobody's to judge: {refusal}");
    all.ada.request("edit", good).await?;
    assert_eq!(bodies(&all.said().await?), ["v7 better"], "edits are normalised");
    // What it replaces says no longer what the plugin looks for.
    all.ada.request("edit", bad).await?;
    all.ada.send(all.place, "bad").await?;
    assert_eq!(bodies(&all.said().await?), ["v7 bad", "v7 bad"], "a message is no edit");
    Ok(())
}

#[tokio::test]
async fn a_name_that_a_plugin_refuses_is_not_registered() -> Result<()> {
    let all = group().await?;
    let register = async |name: &str, display_name: Option<&str>| {
        let body = json!({"name": name, "password": "long enough", "display_name": display_name});
        all.server.post("/v1/auth/register", None, &body).await
    };
    for subject in ["user-name", "display-name"] {
        all.server.admin.installed(rejecting(subject)).await?;
        let (bad, good) = match subject {
            "user-name" => (("bad-bird", None), ("good-bird", Some("bad"))),
            _ => (("another", Some("a bad one")), ("bad-heron", Some("Heron"))),
        };
        let refused = expect(register(bad.0, bad.1).await?, 422)?;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["field"]),
            (&json!("moderated"), &json!(subject))
        );
        expect(register(good.0, good.1).await?, 201)?;
    }
    // Refused names are not taken, and operators name people as they like.
    all.server.admin.create_user("bad-bird", None).await?;
    all.server.admin.installed(moderating(json!({"mode": "trap"}))).await?;
    let (status, answer) = register("yet-another", None).await?;
    assert_eq!((status, &answer["error"]["temporary"]), (503, &json!(true)), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_display_name_that_a_plugin_refuses_is_not_taken_later_either() -> Result<()> {
    let mut all = group().await?;
    all.server.admin.installed(rejecting("display-name")).await?;
    let name = |name: &str| json!({"display_name": name});
    check_moderated(&all.ada.refused("profile", name("a bad one")).await?, "display-name");
    assert_eq!(all.ada.request("profile", name("Ada")).await?["user"]["display_name"], "Ada");
    all.server.admin.installed(moderating(json!({"mode": "trap"}))).await?;
    let refusal = all.ada.refused("profile", name("Heron")).await?;
    assert_eq!((refusal.code.as_str(), refusal.temporary), ("unavailable", true));
    // What others do not read is nobody's to judge, and the name that stands is not judged again.
    let user = all.ada.request("profile", json!({"time_zone": "UTC"})).await?["user"].clone();
    assert_eq!((&user["display_name"], &user["time_zone"]), (&json!("Ada"), &json!("UTC")));
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_judged_or_wants_a_person_is_refused_for_now_unless_it_is_a_message() -> Result<()> {
    let mut all = group().await?;
    for mode in ["hold", "trap", "loop"] {
        all.server.admin.installed(moderating(json!({"mode": mode, "on": "hmm"}))).await?;
        let place = all.place;
        for (request, payload) in [
            ("create", create(Uuid::now_v7(), "hmm")),
            ("update", json!({"conversation": place, "title": "hmm"})),
            ("react", json!({"conversation": place, "seq": 1, "emoji": "hmm", "on": true})),
            ("edit", json!({"conversation": place, "seq": 1, "body": "hmm"})),
        ] {
            let refusal = all.ada.refused(request, payload).await?;
            assert_eq!(
                (refusal.code.as_str(), refusal.temporary),
                ("unavailable", true),
                "{mode}: {request}"
            );
        }
        let send = json!({"conversation": place, "client_id": Uuid::now_v7(), "body": "hmm"});
        let held = all.ada.request("send", send).await?;
        ensure!(held["held"]["until"].is_u64(), "{mode}: {held}");
    }
    assert_eq!(all.shown().await?["title"], "Waders");
    let said = all.said().await?;
    assert_eq!((bodies(&said), &said[0]["reactions"]), (vec!["first"], &Value::Null));
    Ok(())
}
