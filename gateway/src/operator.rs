//! What an operator does with accounts from the command line. Gateways that run find out by
//! themselves, within `--recheck` seconds.

use std::{
    io::{IsTerminal, Read, Write},
    sync::Arc,
};

use accounts::{Accounts, Password, Store, User, UserName};
use anyhow::{Context, bail};
use clap::Subcommand;
use odds::Timestamp;

use crate::AccountArgs;

#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Lists all accounts.
    List,
    /// Makes an account, also where registration is closed.
    Create {
        name: String,
        /// Read the password from the standard input instead of making one up.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Ends all that an account does, and lets it do nothing more.
    Disable { name: String },
    /// Lets an account in again.
    Enable { name: String },
    /// Gives an account another password, and ends its sessions.
    ResetPassword {
        name: String,
        /// Read the password from the standard input instead of making one up.
        #[arg(long)]
        password_stdin: bool,
    },
}

impl UserCommand {
    /// Does it, and writes what there is to tell.
    pub async fn execute(
        self,
        store: Arc<dyn Store>,
        settings: &AccountArgs,
        clock: fn() -> Timestamp,
        out: &mut (dyn Write + Send),
    ) -> anyhow::Result<()> {
        let accounts = Accounts::new(store.clone(), settings.account_settings(), clock);
        match self {
            Self::List => {
                for user in store.users().await? {
                    let regions: Vec<&str> = user.regions.iter().map(|region| region.key()).collect();
                    let state = if user.disabled { "disabled" } else { "active" };
                    writeln!(out, "{}\t{state}\t{}\t{}", user.name, user.created_at, regions.join(","))?;
                }
            }
            Self::Create { name, password_stdin } => {
                let (password, made_up) = password(password_stdin)?;
                let user = accounts.create(&name, &password, Default::default()).await?;
                writeln!(out, "{} may sign in", user.name)?;
                tell(made_up, &password, out)?;
            }
            Self::Disable { name } => {
                let user = named(&*store, &name).await?;
                accounts.set_disabled(&user.id, true).await?;
                writeln!(out, "{} is disabled", user.name)?;
            }
            Self::Enable { name } => {
                let user = named(&*store, &name).await?;
                accounts.set_disabled(&user.id, false).await?;
                writeln!(out, "{} may sign in again", user.name)?;
            }
            Self::ResetPassword { name, password_stdin } => {
                let user = named(&*store, &name).await?;
                let (password, made_up) = password(password_stdin)?;
                let new = Password::new(&password, &user.name).context("the password")?;
                accounts.reset_password(&user, &new).await?;
                writeln!(out, "{} has another password and no sessions", user.name)?;
                tell(made_up, &password, out)?;
            }
        }
        Ok(())
    }
}

async fn named(store: &dyn Store, name: &str) -> anyhow::Result<User> {
    let parsed: UserName = name.parse().with_context(|| format!("the name {name:?}"))?;
    match store.user_and_password(&parsed).await? {
        Some((user, _)) => Ok(user),
        None => bail!("nobody is called {name:?}"),
    }
}

/// What it is, and whether nobody knows it yet.
fn password(from_stdin: bool) -> anyhow::Result<(String, bool)> {
    if !from_stdin {
        return Ok((Password::random().reveal().to_owned(), true));
    }
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("The password, and then Ctrl-D:");
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text)?;
    Ok((text.trim_end_matches(['\r', '\n']).to_owned(), false))
}

fn tell(made_up: bool, password: &str, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    if made_up {
        writeln!(out, "password: {password}")?;
    }
    Ok(())
}
