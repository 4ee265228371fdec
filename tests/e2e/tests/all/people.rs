//! What people say of themselves, who hears that it changed, and what they keep to themselves.

use super::list;
use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    client::Client,
    server::{Person, Server, UNLIMITED},
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// The answer to a change of the profile.
async fn change(client: &mut Client, payload: Value) -> Result<Value> {
    Ok(client.request("profile", payload).await?["user"].clone())
}

#[tokio::test]
async fn a_profile_changes_field_by_field_and_is_told_to_who_shares_a_small_conversation() -> Result<()> {
    let server = Server::with(&format!("{UNLIMITED}follow_above = 3\n")).await?;
    let (ada, mut phone) = server.join("ada").await?;
    let mut laptop = server.session(&ada).await?;
    let (ben, mut friend) = server.join("ben").await?;
    let (cleo, mut other) = server.join("cleo").await?;
    let (dora, mut stranger) = server.join("dora").await?;
    phone.direct(ben.id).await?;
    phone.group("Many", &[ben.id, cleo.id, dora.id]).await?;
    let small = phone.group("Few", &[ben.id, cleo.id]).await?;
    let avatar = Uuid::new_v4();
    let whole = json!({"display_name": " Ada L. ", "avatar": avatar, "time_zone": "Europe/London"});
    let user = change(&mut phone, whole).await?;
    assert_eq!((&user["display_name"], &user["avatar"]), (&json!("Ada L."), &json!(avatar)));
    assert_eq!(user["privacy"], json!({"presence": "everyone", "receipts": true}));
    for client in [&mut friend, &mut other, &mut laptop] {
        let told = client.push("user").await?;
        for field in ["id", "name", "display_name", "avatar", "time_zone"] {
            assert_eq!(told[field], user[field], "{field}");
        }
        assert_eq!(told["privacy"].is_null(), client.user != ada.id, "one\'s own business");
    }
    // Absent leaves, null clears; of several changes at once the last is told.
    change(&mut phone, json!({"display_name": "Ada"})).await?;
    change(&mut phone, json!({"avatar": null, "privacy": {"receipts": false}})).await?;
    let user = change(&mut phone, json!({"time_zone": null})).await?;
    assert_eq!(
        (&user["display_name"], &user["avatar"], &user["time_zone"]),
        (&json!("Ada"), &Value::Null, &Value::Null)
    );
    assert_eq!(user["privacy"]["receipts"], false);
    let mut times = 0;
    loop {
        let told = friend.push("user").await?;
        times += 1;
        if told["time_zone"].is_null() {
            assert_eq!((&told["display_name"], &told["avatar"]), (&json!("Ada"), &Value::Null));
            break;
        }
    }
    ensure!(times <= 2, "three changes within a second were told {times} times");
    // What others are shown of one's doings is told to own devices alone.
    laptop.listen(Duration::from_millis(1_200)).await?;
    laptop.forget();
    change(&mut phone, json!({"privacy": {"presence": "contacts"}})).await?;
    assert_eq!(laptop.push("user").await?["privacy"]["presence"], "contacts");
    // What changes nothing is told to nobody; what is asked behind it comes without.
    assert_eq!(change(&mut phone, json!({})).await?["display_name"], "Ada");
    phone.send(small, "news").await?;
    other.push("message").await?;
    ensure!(phone.kept("user").is_empty(), "who asked has the answer");
    friend.push("message").await?;
    ensure!(friend.kept("user").is_empty(), "nobody else's business: {:?}", friend.kept("user"));
    ensure!(
        stranger.kept("user").is_empty()
            && stranger.request("users", json!({"query": "ada"})).await?["users"][0]["display_name"] == "Ada",
        "who shares what is large asks"
    );
    Ok(())
}

#[tokio::test]
async fn what_a_profile_cannot_be_is_refused_with_the_field() -> Result<()> {
    let server = Server::start().await?;
    let (_, mut ada) = server.join("ada").await?;
    for (payload, field) in [
        (json!({"display_name": "x".repeat(101)}), "display_name"),
        (json!({"display_name": "a\u{7}b"}), "display_name"),
        (json!({"avatar": "none"}), "avatar"),
        (json!({"time_zone": ""}), "time_zone"),
        (json!({"time_zone": "x".repeat(65)}), "time_zone"),
        (json!({"time_zone": "Europe/../etc"}), "time_zone"),
        (json!({"privacy": {"presence": "some"}}), "privacy.presence"),
        (json!({"privacy": {"receipts": 1}}), "privacy.receipts"),
    ] {
        let refusal = ada.refused("profile", payload.clone()).await?;
        assert_eq!((&*refusal.code, refusal.field.as_deref()), ("invalid", Some(field)), "{payload}");
    }
    let longest = "ü".repeat(100);
    for time_zone in ["UTC", "Etc/GMT+12", "America/Argentina/Buenos_Aires", "EST5EDT"] {
        let user = change(&mut ada, json!({"display_name": longest, "time_zone": time_zone})).await?;
        assert_eq!((&user["display_name"], &user["time_zone"]), (&json!(longest), &json!(time_zone)));
    }
    Ok(())
}

/// Connects where a device left off.
async fn resume(server: &Server, person: &Person, connected: &Value) -> Result<Value> {
    let resume = json!({"epoch": connected["epoch"], "cursor": connected["cursor"]});
    let connect = json!({"token": person.token, "device": {"id": "d"}, "resume": resume});
    let mut client = Client::open(server.public).await?;
    Ok(client.request("connect", connect).await?)
}

#[tokio::test]
async fn a_profile_that_was_answered_outlives_a_kill_and_comes_with_a_resume() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut client) = server.join("ada").await?;
    let ben = server.person("ben").await?;
    let place = client.direct(ben.id).await?;
    let before = server.session(&ben).await?.connected;
    let unchanged = resume(&server, &ben, &before).await?;
    assert_eq!(unchanged["recovered"], true);
    change(&mut client, json!({"display_name": "Ada L.", "privacy": {"presence": "nobody"}})).await?;
    server.kill().await?;
    server.restart().await?;
    let own = server.session(&ada).await?.connected;
    assert_eq!(
        (&own["user"]["display_name"], &own["user"]["privacy"]["presence"]),
        (&json!("Ada L."), &json!("nobody"))
    );
    let resumed = resume(&server, &ben, &before).await?;
    assert_eq!(resumed["recovered"], true);
    let changed = list(&resumed, "conversations")?;
    let shown = changed.iter().find(|one| one["id"] == json!(place)).context("it changed")?;
    assert_eq!(shown["peer"]["display_name"], "Ada L.");
    Ok(())
}

#[tokio::test]
async fn who_keeps_receipts_to_themselves_is_shown_to_nobody_and_left_out() -> Result<()> {
    let server = Server::start().await?;
    let (ada, mut sender) = server.join("ada").await?;
    let (ben, mut phone) = server.join("ben").await?;
    let mut laptop = server.session(&ben).await?;
    let (cleo, mut other) = server.join("cleo").await?;
    let (direct, group) = (sender.direct(ben.id).await?, sender.group("Few", &[ben.id, cleo.id]).await?);
    for place in [direct, group] {
        sender.send(place, "read this").await?;
        phone.push("message").await?;
    }
    // From the next request of any session on.
    change(&mut laptop, json!({"privacy": {"receipts": false}})).await?;
    for place in [direct, group] {
        phone.request("read", json!({"conversation": place, "seq": 1})).await?;
        let own = laptop.push("receipt").await?;
        assert_eq!((&own["conversation"], &own["read_seq"]), (&json!(place), &json!(1)));
    }
    other.request("read", json!({"conversation": group, "seq": 1})).await?;
    let told = sender.push("receipt").await?;
    assert_eq!(told["user"], json!(cleo.id), "the other\'s came before, and was not told");
    let asked = json!({"conversation": group, "seq": 1});
    let receipts = sender.request("receipts", asked.clone()).await?;
    assert_eq!((&receipts["received"], &receipts["read"]), (&json!(1), &json!(1)));
    let members: Vec<_> = list(&receipts, "members")?.iter().map(|one| one["user"].clone()).collect();
    assert_eq!(members, [json!(cleo.id)]);
    let of = async |client: &mut Client| {
        let ok = client.request("conversation", json!({"conversation": direct})).await?;
        anyhow::Ok((ok["conversation"]["peer_read_seq"].clone(), ok["conversation"]["read_seq"].clone()))
    };
    assert_eq!(of(&mut sender).await?, (Value::Null, json!(1)));
    assert_eq!(of(&mut laptop).await?, (json!(1), json!(1)), "what others show is shown");
    // Who shows them again is shown as they are.
    change(&mut phone, json!({"privacy": {"receipts": true}})).await?;
    assert_eq!(of(&mut sender).await?.0, json!(1));
    assert_eq!(sender.request("receipts", asked).await?["read"], 2);
    sender.send(direct, "and this").await?;
    phone.push("message").await?;
    phone.request("read", json!({"conversation": direct, "seq": 2})).await?;
    assert_eq!(sender.push("receipt").await?["user"], json!(ben.id));
    ensure!(sender.user == ada.id, "it is hers");
    Ok(())
}

/// A mark that rose by sending is stored within a second; a host that is killed before finds it again among the newest
/// messages, and tells it then, for nobody knows whether it was told.
#[tokio::test]
async fn marks_that_a_killed_host_had_not_stored_stay_with_who_keeps_them_as_well() -> Result<()> {
    let mut server = Server::start().await?;
    let (ada, mut sender) = server.join("ada").await?;
    let ben = server.person("ben").await?;
    let place = sender.group("Few", &[ben.id]).await?;
    change(&mut sender, json!({"privacy": {"receipts": false}})).await?;
    // Should it have been stored just before, it is tried again.
    for _ in 0..4 {
        sender.send(place, "and killed").await?;
        server.kill().await?;
        server.restart().await?;
        let mut other = server.session(&ben).await?;
        sender = server.session(&ada).await?;
        other.request("conversation", json!({"conversation": place})).await?;
        sender.listen(Duration::from_millis(2_500)).await?;
        other.listen(Duration::from_millis(100)).await?;
        ensure!(other.kept("receipt").is_empty(), "told: {:?}", other.kept("receipt"));
        if let Some(own) = sender.kept("receipt").first() {
            assert_eq!(own["user"], json!(ada.id));
            return Ok(());
        }
    }
    anyhow::bail!("nothing was ever found again")
}
