//! `kill -9` at random moments, again and again, on one data folder.
//!
//! People talk in a group and in pairs, with several messages under way; the server is killed, started again, and they
//! go on: what was not acknowledged is sent again under the same client id. In the end every number is compared, as it
//! was acknowledged, as it was pushed, and as history shows it. SIGTERM must do no more harm, so it is tried as well.
//! The moments come from a seed, which is printed; `GODWIT_SEED` repeats a run. `GODWIT_LONG=1` runs the long form:
//! 200 ends, and a million acknowledgements at least.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    PATIENCE,
    checker::{Checker, Moment},
    client::{Client, Failure},
    server::{Server, UNLIMITED},
    talk::{Talker, finish, meet, talk},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// `kill -9`.
    Kill,
    /// SIGTERM: clients are told, and what they sent is written.
    Terminate,
}

/// How long and how wide a run is.
struct Form {
    ends: u32,
    people: usize,
    /// How long people talk before the end, in milliseconds.
    talk_ms: std::ops::Range<u64>,
    /// How many messages must have been acknowledged for the run to mean something.
    acknowledged_min: usize,
}

impl Form {
    fn of(end: End) -> Self {
        if std::env::var_os("GODWIT_LONG").is_some() {
            return Self { ends: 200, people: 32, talk_ms: 100..700, acknowledged_min: 1_000_000 };
        }
        let ends = if end == End::Kill { 50 } else { 8 };
        Self { ends, people: 4, talk_ms: 5..250, acknowledged_min: 100 }
    }
}

/// A draining server does not wait long: nobody here goes by themselves.
const DRAIN: &str = "\n[server]\ndrain_ms = 100\n";

/// Talks until the server is killed.
async fn talk_on(
    mut talker: Talker,
    client: Client,
    checker: Arc<Mutex<Checker>>,
    asked: Moment,
) -> Result<Talker> {
    let ended = talk(&mut talker, client, &checker, asked, usize::MAX).await?;
    ensure!(
        matches!(ended, Some(Failure::Closed(1006 | 3000) | Failure::Broken(_))),
        "{}: {ended:?}",
        talker.person.name
    );
    Ok(talker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_doubled_or_reordered_however_often_the_server_is_killed() -> Result<()>
{
    run(End::Kill).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_however_often_it_is_told_to_stop() -> Result<()> {
    run(End::Terminate).await
}

async fn run(end: End) -> Result<()> {
    let form = Form::of(end);
    let seed = match std::env::var("GODWIT_SEED") {
        Ok(seed) => seed.parse().context("GODWIT_SEED is a number")?,
        Err(_) => fastrand::u64(..),
    };
    println!("{end:?}: seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = Server::with(&format!("{UNLIMITED}{DRAIN}")).await?;
    let (mut talkers, visitor) = meet(&server, form.people).await?;
    let visitor = Arc::new(visitor);
    let checker = Arc::new(Mutex::new(Checker::new()));
    let mut cycles_with_answers = 0;
    for cycle in 0..form.ends {
        let before = checker.lock().await.acknowledged();
        let mut talking = Vec::new();
        let asked = checker.lock().await.moment();
        let client = server.session(&visitor.person).await?;
        let listening = tokio::spawn({
            let (visitor, checker) = (Arc::clone(&visitor), Arc::clone(&checker));
            async move { visitor.listen(client, &checker, asked, PATIENCE).await }
        });
        for talker in talkers.drain(..) {
            let asked = checker.lock().await.moment();
            let client = server
                .session(&talker.person)
                .await
                .with_context(|| format!("seed {seed}, cycle {cycle}"))?;
            talking.push(tokio::spawn(talk_on(talker, client, Arc::clone(&checker), asked)));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(form.talk_ms.clone()))).await;
        match end {
            End::Kill => server.kill().await?,
            End::Terminate => ensure!(server.terminate().await?.success(), "{}", server.log()),
        }
        for talk in talking {
            talkers.push(talk.await?.with_context(|| format!("seed {seed}, cycle {cycle}"))?);
        }
        listening.await?.with_context(|| format!("seed {seed}, cycle {cycle}"))?;
        let acknowledged = checker.lock().await.acknowledged();
        cycles_with_answers += u32::from(acknowledged > before);
        if cycle % 10 == 9 {
            println!("{end:?}: {} of {} ends, {acknowledged} messages acknowledged", cycle + 1, form.ends);
        }
        server.restart().await.with_context(|| format!("seed {seed}, cycle {cycle}"))?;
    }
    let mut checker = checker.lock().await;
    finish(&server, &mut talkers, &visitor, &mut checker).await.with_context(|| format!("seed {seed}"))?;
    let (acknowledged, pushed) = (checker.acknowledged(), checker.pushed());
    println!("{end:?}: {} ends, {acknowledged} messages acknowledged, {pushed} pushes", form.ends);
    ensure!(
        cycles_with_answers > form.ends / 2 && acknowledged >= form.acknowledged_min,
        "{cycles_with_answers} cycles had answers, {acknowledged} in all: too few to tell"
    );
    checker.verdict().with_context(|| format!("seed {seed}"))
}
