//! One person's slow messages take one instance, however many there are.

use super::options;
use crate::bed::{Bed, allowed};
use godwit_domain::filter::{Decision, Judgement};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_has_one_call_of_a_hook_running() {
    let bed = Bed::new(options()).await;
    bed.install("a", "1", r#"{"moderation": {"mode": "loop", "on": "bad"}}"#).await.unwrap();
    // Polled in this order: two of the same user, then another one's, for whom the second instance is free.
    let began = std::time::Instant::now();
    let (first, second, other) = tokio::join!(biased;
        async { (bed.judge_of(1, "bad 1").await.0, began.elapsed()) },
        async { (bed.judge_of(1, "bad 2").await.0, began.elapsed()) },
        async { (bed.judge_of(2, "good").await.0, began.elapsed()) },
    );
    for (judgement, _) in [&first, &second] {
        assert!(matches!(judgement, Judgement::Failed { how: Decision::Deadline, .. }), "{judgement:?}");
    }
    assert_eq!(allowed(&other.0), Some("good"));
    assert!(other.1 < first.1, "{:?}, and the first {:?}: it waited for one of them", other.1, first.1);
}
