//! Connections that are dropped while their `connect` is worked off.

use crate::house::House;
use futures_util::FutureExt;
use serde_json::{Value, json};

const SOCKETS: usize = 64;

/// The session was added to the registry, and its future was dropped before anybody owned what would remove it.
#[tokio::test]
async fn a_socket_that_is_dropped_in_the_midst_of_connect_leaves_nothing_behind() {
    let house = House::new().await;
    let mut ada = house.join("ada").await;
    // What is asked about it crosses to its shard: a `connect` waits for that.
    ada.ask("direct", json!({ "user": ada.id })).await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(house.open(ada.id, Value::Null).await);
    }
    let requests: Vec<_> =
        sockets.iter().map(|(_, connect)| json!({ "id": 1, "connect": connect }).to_string()).collect();
    let mut connecting = Vec::new();
    for ((client, _), request) in sockets.iter_mut().zip(&requests) {
        let mut connect = Box::pin(client.session.receive(request));
        // It stands where it waits for the first time after it was added.
        while house.registry.len() < 2 + connecting.len() {
            assert!((&mut connect).now_or_never().is_none(), "it was connected before it could be dropped");
            tokio::task::yield_now().await;
        }
        connecting.push(connect);
    }
    drop(connecting);
    drop(sockets);
    assert_eq!(house.registry.len(), 1);
    drop(ada);
    assert!(house.registry.is_empty());
}
