//! The code that signs a user in once.

use accounts::{AccountSettings, Accounts, AccountsError, Actor, Requester, SignInCode, StoreUrl};
use odds::Timestamp;

#[tokio::test]
async fn a_code_signs_its_user_in_once_and_no_other_code_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreUrl::Sqlite(folder.path().join("accounts.db")).open().await.unwrap();
    let new = || Accounts::new(store.clone(), AccountSettings::default(), || Timestamp::from_millis(1_000));
    let user = new()
        .create("ann", "seven wet badgers", Default::default(), &Actor::at_console("host", "a test"))
        .await
        .unwrap();
    let by = Requester { address: "192.0.2.7".parse().unwrap(), agent: "a browser".into() };
    let code = SignInCode::for_user(&user.id);
    let given = code.reveal().to_owned();

    let accounts = new();
    let refused = accounts.sign_in_with_code(&given, &by).await.unwrap_err();
    assert!(matches!(refused, AccountsError::WrongCode), "there is no code: {refused}");

    let accounts = accounts.with_sign_in_code(Some(code));
    for wrong in ["", "x", &given[1..]] {
        let refused = accounts.sign_in_with_code(wrong, &by).await.unwrap_err();
        assert!(matches!(refused, AccountsError::WrongCode), "{wrong:?}: {refused}");
    }
    assert_eq!(accounts.sign_in_with_code(&given, &by).await.unwrap().id, user.id);
    let refused = accounts.sign_in_with_code(&given, &by).await.unwrap_err();
    assert!(matches!(refused, AccountsError::WrongCode), "it was used: {refused}");

    // Guesses are limited like those of passwords.
    let mut last = None;
    for _ in 0..100 {
        last = accounts.sign_in_with_code("guess", &by).await.err();
    }
    assert!(matches!(last, Some(AccountsError::TooManyAttempts { .. })), "{last:?}");
}

#[tokio::test]
async fn the_code_of_a_disabled_user_does_not_sign_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreUrl::Sqlite(folder.path().join("accounts.db")).open().await.unwrap();
    let accounts = Accounts::new(store, AccountSettings::default(), || Timestamp::from_millis(1_000));
    let console = Actor::at_console("host", "a test");
    let user = accounts.create("ann", "seven wet badgers", Default::default(), &console).await.unwrap();
    let code = SignInCode::for_user(&user.id);
    let given = code.reveal().to_owned();
    let accounts = accounts.with_sign_in_code(Some(code));
    accounts.set_disabled(&user, true, &console).await.unwrap();
    let by = Requester { address: "192.0.2.7".parse().unwrap(), agent: "a browser".into() };
    let refused = accounts.sign_in_with_code(&given, &by).await.unwrap_err();
    assert!(matches!(refused, AccountsError::Disabled), "{refused}");
}
