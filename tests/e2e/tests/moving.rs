//! People who move from one transport to the next while everyone talks.
//!
//! Each leaves its connection without a word, with messages under way, connects over the next transport, reads what it
//! missed from history, and goes on: what was not acknowledged is sent again under the same client id. In the end every
//! number is compared, as it was acknowledged, as it was pushed, and as history shows it; and each device must have
//! everything, by whichever way it came. `GODWIT_LONG=1` moves every 500 messages, many times.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    checker::Checker,
    client::Transport,
    server::Server,
    talk::{Talker, Visitor, finish, meet, talk},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};

const PEOPLE: usize = 4;
/// How long the visitor stays with one transport.
const STAY: Duration = Duration::from_millis(400);

/// How far people go.
#[derive(Clone, Copy)]
struct Journey {
    /// How many messages one sends before it moves on.
    every: usize,
    /// How often it does.
    moves: usize,
}

const SHORT: Journey = Journey { every: 50, moves: 9 };
const LONG: Journey = Journey { every: 500, moves: 60 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_reordered_for_people_who_move_between_transports() -> Result<()> {
    let journey = if std::env::var_os("GODWIT_LONG").is_some() { LONG } else { SHORT };
    let server = Arc::new(Server::start().await?);
    let checker = Arc::new(Mutex::new(Checker::new()));
    let (talkers, visitor) = meet(&server, PEOPLE).await?;
    let visitor = Arc::new(visitor);
    let (done, is_done) = watch::channel(false);
    let visiting =
        tokio::spawn(visit(Arc::clone(&visitor), is_done, Arc::clone(&server), Arc::clone(&checker)));
    let travelling = talkers.into_iter().enumerate().map(|(n, talker)| {
        tokio::spawn(travel(talker, n, journey, Arc::clone(&server), Arc::clone(&checker)))
    });
    let mut talkers = Vec::new();
    for talker in travelling.collect::<Vec<_>>() {
        talkers.push(talker.await??);
    }
    done.send_replace(true);
    visiting.await??;
    let mut checker = checker.lock().await;
    finish(&server, &mut talkers, &visitor, &mut checker).await?;
    let (acknowledged, pushed) = (checker.acknowledged(), checker.pushed());
    println!("{} moves, {acknowledged} messages acknowledged, {pushed} pushes", PEOPLE * journey.moves);
    ensure!(acknowledged >= PEOPLE * journey.moves * journey.every, "only {acknowledged} were acknowledged");
    checker.verdict()
}

/// Listens over one transport after the other, until everyone is done.
async fn visit(
    visitor: Arc<Visitor>,
    is_done: watch::Receiver<bool>,
    server: Arc<Server>,
    checker: Arc<Mutex<Checker>>,
) -> Result<()> {
    for transport in Transport::ALL.into_iter().cycle() {
        if *is_done.borrow() {
            break;
        }
        let asked = checker.lock().await.moment();
        let client = server.session_over(transport, &visitor.person).await?;
        visitor.listen(client, &checker, asked, STAY).await.with_context(|| format!("over {transport:?}"))?;
    }
    Ok(())
}

/// Talks over one transport after the other, beginning with the `n`th; what it has in the end is everything.
async fn travel(
    mut talker: Talker,
    n: usize,
    journey: Journey,
    server: Arc<Server>,
    checker: Arc<Mutex<Checker>>,
) -> Result<Talker> {
    for leg in 0..journey.moves {
        let transport = Transport::ALL[(n + leg) % Transport::ALL.len()];
        let told = || format!("{} over {transport:?}, leg {leg}", talker.person.name);
        let asked = checker.lock().await.moment();
        let mut client = server.session_over(transport, &talker.person).await.with_context(told)?;
        // A cursor would tell which places have changed; by number, history is right without it.
        talker.catch_up(&mut client, &checker).await?;
        let ended = talk(&mut talker, client, &checker, asked, journey.every).await?;
        ensure!(ended.is_none(), "{} over {transport:?}, leg {leg}: {ended:?}", talker.person.name);
    }
    let mut client = server.session(&talker.person).await?;
    talker.catch_up(&mut client, &checker).await?;
    talker.check_complete()?;
    Ok(talker)
}
