//! The operator's commands for accounts. Running gateways notice changes within `--recheck` seconds.

use std::{
    io::{IsTerminal, Read, Write},
    sync::Arc,
};

use accounts::{Accounts, Actor, Password, Store, User, UserName};
use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use odds::Timestamp;

use crate::AccountArgs;

#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Lists all accounts.
    List,
    /// Creates an account, even if registration is closed.
    Create {
        name: String,
        /// Read the password from standard input instead of generating one.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Disables an account and ends its sessions and connections.
    Disable { name: String },
    /// Enables a disabled account.
    Enable { name: String },
    /// Makes an account an operator's, which sees what is wrong with the system.
    Grant {
        name: String,
        #[arg(value_enum)]
        role: Role,
    },
    /// Takes a role away.
    Revoke {
        name: String,
        #[arg(value_enum)]
        role: Role,
    },
    /// Sets a new password for an account and ends its sessions.
    ResetPassword {
        name: String,
        /// Read the password from standard input instead of generating one.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// What an account may be beyond a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Operator,
}

impl UserCommand {
    /// Executes the command and writes its result to `out`. Fails if there is no such account, if the name or password
    /// is invalid, or if the store is unavailable.
    pub async fn execute(
        self,
        store: Arc<dyn Store>,
        settings: &AccountArgs,
        clock: fn() -> Timestamp,
        out: &mut (dyn Write + Send),
    ) -> anyhow::Result<()> {
        let accounts = Accounts::new(store.clone(), settings.account_settings(), clock);
        let actor = Actor::at_console(&service::hostname().unwrap_or_default(), "gateway user");
        match self {
            Self::List => {
                for user in store.users().await? {
                    let regions: Vec<&str> = user.regions.iter().map(|region| region.key()).collect();
                    let state = if user.disabled { "disabled" } else { "active" };
                    let role = if user.is_operator { "\toperator" } else { "" };
                    writeln!(out, "{}\t{state}\t{}\t{}{role}", user.name, user.created_at, regions.join(","))?;
                }
            }
            Self::Create { name, password_stdin } => {
                let (password, generated) = password(password_stdin)?;
                let user = accounts.create(&name, &password, Default::default(), &actor).await?;
                writeln!(out, "{} may sign in", user.name)?;
                print_generated(generated, &password, out)?;
            }
            Self::Disable { name } => {
                let user = find_user(&*store, &name).await?;
                accounts.set_disabled(&user, true, &actor).await?;
                writeln!(out, "{} is disabled", user.name)?;
            }
            Self::Enable { name } => {
                let user = find_user(&*store, &name).await?;
                accounts.set_disabled(&user, false, &actor).await?;
                writeln!(out, "{} may sign in again", user.name)?;
            }
            Self::Grant { name, role: Role::Operator } => {
                let user = find_user(&*store, &name).await?;
                accounts.set_operator(&user, true, &actor).await?;
                writeln!(out, "{} is an operator", user.name)?;
            }
            Self::Revoke { name, role: Role::Operator } => {
                let user = find_user(&*store, &name).await?;
                accounts.set_operator(&user, false, &actor).await?;
                writeln!(out, "{} is no longer an operator", user.name)?;
            }
            Self::ResetPassword { name, password_stdin } => {
                let user = find_user(&*store, &name).await?;
                let (password, generated) = password(password_stdin)?;
                let new = Password::new(&password, &user.name).context("the password")?;
                accounts.reset_password(&user, &new, &actor).await?;
                writeln!(out, "{} has a new password; all of its sessions have ended", user.name)?;
                print_generated(generated, &password, out)?;
            }
        }
        Ok(())
    }
}

async fn find_user(store: &dyn Store, name: &str) -> anyhow::Result<User> {
    let parsed: UserName = name.parse().with_context(|| format!("the name {name:?}"))?;
    match store.user_and_password(&parsed).await? {
        Some((user, _)) => Ok(user),
        None => bail!("no account is named {name:?}"),
    }
}

/// Returns the password, and whether it was generated and has to be printed.
fn password(from_stdin: bool) -> anyhow::Result<(String, bool)> {
    if !from_stdin {
        return Ok((Password::random().reveal().to_owned(), true));
    }
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("Enter the password, then press Ctrl-D:");
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text)?;
    Ok((text.trim_end_matches(['\r', '\n']).to_owned(), false))
}

fn print_generated(generated: bool, password: &str, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    if generated {
        writeln!(out, "password: {password}")?;
    }
    Ok(())
}
