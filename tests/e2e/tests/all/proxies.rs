//! Behind a proxy: whose word counts for who asks.

use anyhow::{Result, ensure};
use godwit_e2e::{PATIENCE, client, server::Server};
use serde_json::json;
use uuid::Uuid;

/// How many logins an address has. Hashing is cheap: that it is strong is not what is tested here.
const LOGINS: usize = 3;
const SETTINGS: &str =
    "[limits]\nlogins_per_minute = 3\n[auth]\nhash_memory_kib = 64\nhash_passes = 1\n[gateway]\n";
/// Tests come from here.
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";

async fn start(gateway: &str) -> Result<Server> {
    Server::with(&[SETTINGS, gateway].concat()).await
}

/// A login under a name that nobody tried before, so that the address alone is counted; whether it was let through.
async fn try_login(server: &Server, header: (&str, &str)) -> Result<bool> {
    let name = &Uuid::new_v4().simple().to_string()[..20];
    let request = reqwest::Client::new()
        .post(format!("http://{}/v1/auth/login", server.public))
        .header(header.0, header.1)
        .json(&json!({"name": name, "password": "a wrong one"}))
        .timeout(PATIENCE);
    match request.send().await?.status().as_u16() {
        401 => Ok(true),
        429 => Ok(false),
        other => anyhow::bail!("{header:?} was answered with {other}"),
    }
}

/// As many logins as one address has are let through, and then no other.
async fn check_shared(server: &Server, name: &str, values: [&str; LOGINS + 1]) -> Result<()> {
    for (n, value) in values.into_iter().enumerate() {
        assert_eq!(try_login(server, (name, value)).await?, n < LOGINS, "login {n} with {name}: {value}");
    }
    Ok(())
}

/// Each of these still has a login of its own.
async fn check_free(server: &Server, name: &str, values: &[&str]) -> Result<()> {
    for value in values {
        ensure!(try_login(server, (name, value)).await?, "{name}: {value} has no login left");
    }
    Ok(())
}

#[tokio::test]
async fn what_an_unknown_proxy_says_is_ignored_so_that_all_behind_it_share_a_limit() -> Result<()> {
    let strangers = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"];
    // Without a list, and with one that this proxy is not on.
    for gateway in ["", "trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.2\"]\n"] {
        let server = start(gateway).await?;
        check_shared(&server, "x-forwarded-for", strangers).await?;
        let rfc = try_login(&server, ("forwarded", "for=203.0.113.5")).await?;
        ensure!(!rfc, "another header got past the limit");
    }
    Ok(())
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_limit_of_its_own() -> Result<()> {
    for trusted in [TRUSTED, "trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n"] {
        let server = start(trusted).await?;
        check_shared(&server, "x-forwarded-for", ["203.0.113.1"; LOGINS + 1]).await?;
        check_free(&server, "x-forwarded-for", &["203.0.113.2", "2001:db8::1"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_client_writes_itself_moves_no_login_to_another_address() -> Result<()> {
    let server = start(TRUSTED).await?;
    let spoofed = ["1.1.1.1, 203.0.113.1", "2.2.2.2, 203.0.113.1", "127.0.0.1,203.0.113.1", "x, 203.0.113.1"];
    check_shared(&server, "x-forwarded-for", spoofed).await?;
    check_free(&server, "x-forwarded-for", &["1.1.1.1", "2.2.2.2"]).await?;
    // What cannot be read counts for the proxy itself.
    let broken = ["unknown", "203.0.113.7, unknown", "203.0.113.256", ""];
    check_shared(&server, "x-forwarded-for", broken).await?;
    Ok(())
}

#[tokio::test]
async fn a_network_of_ipv6_has_one_limit() -> Result<()> {
    let server = start(TRUSTED).await?;
    let one = ["2001:db8::1", "[2001:db8::2]:4711", "2001:db8:0:0:ffff::3", "2001:db8::4"];
    check_shared(&server, "x-forwarded-for", one).await?;
    check_free(&server, "x-forwarded-for", &["2001:db8:0:1::1"]).await?;
    Ok(())
}

#[tokio::test]
async fn the_standard_header_counts_where_it_is_chosen_and_the_other_one_no_longer() -> Result<()> {
    let server = start(&[TRUSTED, "forwarded_header = \"forwarded\"\n"].concat()).await?;
    let one = [
        "for=203.0.113.1",
        "for=1.1.1.1, for=\"203.0.113.1:4711\";proto=https",
        "for=203.0.113.1, for=127.0.0.1",
        "For=\"203.0.113.1\"",
    ];
    check_shared(&server, "forwarded", one).await?;
    check_free(&server, "forwarded", &["for=203.0.113.2", "for=\"[2001:db8::1]\""]).await?;
    let other = ["203.0.113.3", "203.0.113.4", "203.0.113.5", "203.0.113.6"];
    check_shared(&server, "x-forwarded-for", other).await?;
    Ok(())
}

#[tokio::test]
async fn the_host_that_a_page_asked_for_is_believed_from_trusted_proxies_alone() -> Result<()> {
    for (gateway, expected) in [(TRUSTED, Ok(Some(client::SUBPROTOCOL.to_owned()))), ("", Err(403))] {
        let server = start(gateway).await?;
        let headers = [
            ("origin", "https://chat.example.com"),
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-host", "chat.example.com"),
        ];
        let upgraded = client::upgrade(server.public, client::request(server.public, &headers)?).await?;
        assert_eq!(upgraded, expected, "{gateway}");
    }
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_is_no_address_keeps_the_server_from_starting() -> Result<()> {
    let error = start("trusted_proxies = [\"proxy.example.com\"]\n").await.err();
    let error = error.map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(error.contains("gateway.trusted_proxies") && error.contains("`proxy.example.com`"), "{error}");
    Ok(())
}
