//! What users set for themselves.

use crate::common::{House, NOW, create, user};
use godwit_domain::{
    conversation::{Kind, Settings, SettingsChange},
    id::ConversationId,
    tables::Conversations,
};

#[tokio::test]
async fn settings_are_kept_for_each_user_and_listed_with_when_they_changed() {
    let house = House::new();
    let (id, _) = create(&house.tables, 1, Kind::Group, 2).await;
    let tables = &house.tables;
    let pin =
        SettingsChange { pinned: Some(true), label: Some(Some("work".into())), ..SettingsChange::default() };
    let pinned = Settings { pinned: true, label: Some("work".into()), ..Settings::default() };
    assert_eq!(tables.set(user(1), id, &pin, NOW.plus(5)).await, Ok(Some(pinned.clone())));
    assert_eq!(tables.set(user(1), id, &pin, NOW.plus(6)).await, Ok(None), "that changes nothing");
    let mute =
        SettingsChange { muted_until: Some(Some(NOW)), label: Some(None), ..SettingsChange::default() };
    let muted = Settings { muted_until: Some(NOW), label: None, ..pinned };
    assert_eq!(tables.set(user(1), id, &mute, NOW.plus(7)).await, Ok(Some(muted.clone())));
    let elsewhere = ConversationId::from_u128(99);
    let asked = [(user(2), id), (user(1), id), (user(1), elsewhere)];
    let none = Settings::default();
    assert_eq!(tables.settings(&asked).await, Ok(vec![none.clone(), muted.clone(), none.clone()]));
    for (number, settings, at) in [(1, muted, NOW.plus(7)), (2, none, NOW)] {
        let listed = tables.listed(user(number)).await.unwrap();
        assert_eq!((&listed[0].settings, listed[0].touched_at()), (&settings, at), "of {number}");
    }
}
