//! Components that were cut short or changed byte by byte: refused, or as harmless as any other plugin.
//!
//! What is changed comes from a seed, which is printed; `GODWIT_SEED` repeats a run. `GODWIT_LONG=1` tries 2,000.

use super::{alone, guest::Guest, options};
use crate::bed::{Bed, fixture};
use godwit_domain::plugin::{Component, Error, Install, Manager};
use std::time::{Duration, Instant};

/// A generator of numbers that needs no more than a seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// A new one; says its seed.
    pub fn seeded() -> Self {
        let seed = match std::env::var("GODWIT_SEED") {
            Ok(seed) => seed.parse().expect("GODWIT_SEED is a number"),
            Err(_) => getrandom::u64().unwrap(),
        };
        println!("seed {seed}");
        Self(seed)
    }

    /// The next, below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

#[test]
fn truncated_and_mutated_components_are_refused_or_cost_their_own_calls() {
    alone("hostile::mutated::truncated_and_mutated_components_are_refused_or_cost_their_own_calls", mutate());
}

async fn mutate() {
    let (cuts, mutants) = if std::env::var_os("GODWIT_LONG").is_some() { (2_000, 2_000) } else { (200, 60) };
    let mut random = Random::seeded();
    let guest = Guest::new("moderation")
        .import("godwit:plugin/log@0.1.0", "log", "(param i32 i32 i32)")
        .field("(table $t funcref (elem $realloc))")
        .body("(call $log (i32.const 2) (i32.const 0) (i32.const 4)) (i32.const 16)");
    let whole = guest.component();
    let bed = Bed::new(options()).await;
    let install = |component: &[u8]| Install {
        manifest: guest.manifest("a"),
        component: Component::Bytes(component.to_vec()),
        ..fixture("a", "1", "{}")
    };
    let mut refused = 0;
    for _ in 0..cuts {
        let cut = random.below(whole.len());
        match bed.engine.install(install(&whole[..cut])).await {
            Err(Error::Refused(_)) => refused += 1,
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    assert_eq!(refused, cuts);
    let mut served = 0;
    for n in 0..mutants {
        let mut mutant = whole.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(mutant.len());
            mutant[at] = random.below(256) as u8;
        }
        let began = Instant::now();
        match bed.engine.install(install(&mutant)).await {
            Err(Error::Refused(_)) => {}
            Ok(_) => {
                served += 1;
                // Whatever it does, it does to itself; that it answers at all is not asked of it.
                for user in 0..3 {
                    bed.judge_of(user, &format!("message {n}")).await;
                }
                bed.engine.remove("a").await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
    // The host is as it was.
    bed.engine.install(install(&whole)).await.unwrap();
    let (judgement, _) = bed.judge("hello").await;
    assert_eq!(crate::bed::allowed(&judgement), Some("hello"));
    println!("{cuts} cuts refused; {served} of {mutants} mutants served");
}
