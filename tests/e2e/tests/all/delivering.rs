//! Who is told of a message, and with what attention, as a plugin says: real guests, on the way after the number.

use super::{bodies, seqs};
use anyhow::{Result, ensure};
use godwit_e2e::{
    admin::Install,
    client::Client,
    server::{Person, Server, UNLIMITED},
};
use godwit_fixtures::AUDIENCE;
use serde_json::{Value, json};
use uuid::Uuid;

/// The fixture alone: no plugin judges anything.
fn audience(config: Value) -> Install {
    Install {
        id: "fixture-audience".to_owned(),
        // Without the list of members, which would have to be granted.
        manifest: godwit_fixtures::manifest(AUDIENCE).replace("member-list = true", ""),
        component: godwit_fixtures::component(AUDIENCE),
        config: Some(config),
        ..Install::default()
    }
}

/// Ada's group, with ben and cleo in it.
async fn group() -> Result<(Server, [Person; 3], [Client; 3], Uuid)> {
    let server = Server::with(UNLIMITED).await?;
    let (ada, mut owner) = server.join("ada").await?;
    let (ben, first) = server.join("ben").await?;
    let (cleo, second) = server.join("cleo").await?;
    let place = owner.group("Waders", &[ben.id, cleo.id]).await?;
    Ok((server, [ada, ben, cleo], [owner, first, second], place))
}

#[tokio::test]
async fn a_fan_out_plugin_names_who_gets_it_live_and_the_others_hear_by_heads_and_read_it() -> Result<()> {
    let (server, [ada, ..], [mut owner, mut first, mut second], place) = group().await?;
    server.admin.installed(audience(json!({"fan_out": {"mode": "admins", "on": "staff"}}))).await?;
    let mut phone = server.session(&ada).await?;
    for body in ["to staff", "to all"] {
        owner.send(place, body).await?;
    }
    assert_eq!(phone.push("message").await?["body"], "to staff", "who sent it is the admin");
    for client in [&mut first, &mut second] {
        assert_eq!(client.push("message").await?["body"], "to all");
        let heads = client.push("heads").await?;
        assert_eq!((&heads[0]["conversation"], &heads[0]["last_seq"]), (&json!(place), &json!(1)));
        let read = client.history(place, 0).await?;
        assert_eq!(seqs(&read), [1, 2], "no rule takes anything out of the history");
        assert_eq!(bodies(&read), ["to staff", "to all"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_delivery_plugin_makes_a_message_quiet_for_some() -> Result<()> {
    let (server, _, [mut owner, mut first, mut second], place) = group().await?;
    server.admin.installed(audience(json!({"delivery": {"mode": "quiet", "name": "ben"}}))).await?;
    owner.send(place, "one").await?;
    assert_eq!(first.push("message").await?["quiet"], true);
    assert_eq!(second.push("message").await?["quiet"], Value::Null);
    ensure!(owner.history(place, 0).await?[0]["quiet"].is_null(), "it is said of a push, not of the message");
    Ok(())
}

#[tokio::test]
async fn plugins_that_break_after_the_number_leave_the_built_in_rule() -> Result<()> {
    let (server, _, [mut owner, mut first, mut second], place) = group().await?;
    for mode in ["trap", "loop"] {
        let broken = json!({"fan_out": {"mode": mode, "on": "bad"}, "delivery": {"mode": mode, "on": "bad"}});
        server.admin.installed(audience(broken)).await?;
        let body = format!("bad {mode}");
        owner.send(place, &body).await?;
        for client in [&mut first, &mut second] {
            let told = client.push("message").await?;
            assert_eq!((&told["body"], &told["quiet"]), (&json!(body), &Value::Null));
        }
    }
    Ok(())
}
