//! `kill -9` at random moments, again and again, on one data folder.
//!
//! People talk in a group and in pairs, with several messages under way; the server is killed, started again, and they
//! go on: what was not acknowledged is sent again under the same client id. In the end every number is compared, as it
//! was acknowledged, as it was pushed, and as history shows it. The moments come from a seed, which is printed;
//! `GODWIT_SEED` repeats a run.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    checker::Checker,
    client::{Client, Failure},
    server::Server,
    talk::{Talker, finish, meet, talk},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

const CYCLES: u32 = 50;
const PEOPLE: usize = 4;
/// How long people talk before the kill, in milliseconds.
const TALK_MS: std::ops::Range<u64> = 5..250;

/// Talks until the server is killed.
async fn talk_on(mut talker: Talker, client: Client, checker: Arc<Mutex<Checker>>) -> Result<Talker> {
    let ended = talk(&mut talker, client, &checker, usize::MAX).await?;
    ensure!(
        matches!(ended, Some(Failure::Closed(1006) | Failure::Broken(_))),
        "{}: {ended:?}",
        talker.person.name
    );
    Ok(talker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_doubled_or_reordered_however_often_the_server_is_killed() -> Result<()>
{
    let seed = match std::env::var("GODWIT_SEED") {
        Ok(seed) => seed.parse().context("GODWIT_SEED is a number")?,
        Err(_) => fastrand::u64(..),
    };
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = Server::start().await?;
    let mut talkers = meet(&server, PEOPLE).await?;
    let checker = Arc::new(Mutex::new(Checker::new()));
    let mut cycles_with_answers = 0;
    for cycle in 0..CYCLES {
        let before = checker.lock().await.acknowledged();
        let mut talking = Vec::new();
        for talker in talkers.drain(..) {
            let client = server
                .session(&talker.person)
                .await
                .with_context(|| format!("seed {seed}, cycle {cycle}"))?;
            talking.push(tokio::spawn(talk_on(talker, client, Arc::clone(&checker))));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(TALK_MS))).await;
        server.kill().await?;
        for talk in talking {
            talkers.push(talk.await?.with_context(|| format!("seed {seed}, cycle {cycle}"))?);
        }
        cycles_with_answers += u32::from(checker.lock().await.acknowledged() > before);
        server.restart().await.with_context(|| format!("seed {seed}, cycle {cycle}"))?;
    }
    let mut checker = checker.lock().await;
    finish(&server, &mut talkers, &mut checker).await.with_context(|| format!("seed {seed}"))?;
    let (acknowledged, pushed) = (checker.acknowledged(), checker.pushed());
    println!("{CYCLES} kills, {acknowledged} messages acknowledged, {pushed} pushes");
    ensure!(
        cycles_with_answers > CYCLES / 2,
        "only {cycles_with_answers} cycles had any answer: too slow to tell"
    );
    checker.verdict().with_context(|| format!("seed {seed}"))
}
