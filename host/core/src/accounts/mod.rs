//! Accounts, logins and tokens.
