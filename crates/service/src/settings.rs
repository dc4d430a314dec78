//! Reads settings. Flags override the environment (`TOTEBOARD_…`), which overrides a TOML file, which overrides
//! defaults.
//!
//! clap already knows every setting's name, type and help. The names of environment variables are derived from the
//! flags, and the file's values become clap's defaults, so all three are validated alike and `--help` shows all of
//! them. A renamed setting keeps its old name as an alias for one version, in all three; using the old name prints a
//! warning. A secret (a flag that hides its value in `--help`) can also be read from the file named in `…_FILE`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::Path,
};

use clap::{Arg, ArgAction, Command, Parser, error::ErrorKind};

const PREFIX: &str = "TOTEBOARD_";

/// Reads the settings of this process. On `--help` or an error, prints it and exits.
pub fn load<T: Parser>() -> T {
    load_from(std::env::args_os().collect(), &|name| std::env::var_os(name)).unwrap_or_else(|error| error.exit())
}

/// Reads settings from the given arguments and environment.
pub fn load_from<T: Parser>(
    args: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<T, clap::Error> {
    let command = T::command();
    let fail = |kind, message: String| command.clone().error(kind, message);

    let file = match config_path(&args, environment) {
        None => BTreeMap::new(),
        Some(path) => read_file(path.as_ref()).map_err(|message| fail(ErrorKind::Io, message))?,
    };
    for (old, new) in renamed(&command) {
        let (flag, variable) = (format!("--{old}"), variable_of(&old));
        let in_args = args.iter().filter_map(|arg| arg.to_str()).any(|arg| arg.split('=').next() == Some(&flag));
        if in_args || environment(&variable).is_some() || file.contains_key(&key_of(&old)) {
            eprintln!(
                "warning: the setting --{old} ({variable}) is now --{new}: the next version won't accept the old name"
            );
        }
    }
    if let Some(unknown) = file.keys().find(|key| !knows(&command, key)) {
        return Err(fail(ErrorKind::UnknownArgument, format!("the settings file has an unknown key {unknown:?}")));
    }
    let layered = layer(command.clone(), &file, environment).map_err(|message| fail(ErrorKind::Io, message))?;
    T::from_arg_matches_mut(&mut layered.try_get_matches_from(args)?).map_err(|error| error.format(&mut T::command()))
}

/// Returns the settings file's path from `--config` or the environment. It is needed before clap parses the arguments.
fn config_path(args: &[OsString], environment: &dyn Fn(&str) -> Option<OsString>) -> Option<OsString> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            break;
        }
        if arg == "--config" {
            return args.next().cloned();
        }
        if let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    environment(&format!("{PREFIX}CONFIG"))
}

/// Returns every key with its values as text. A table becomes `key=value` pairs, for settings that take pairs.
fn read_file(path: &Path) -> Result<BTreeMap<String, Vec<String>>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
    let plain = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let values = |value: &toml::Value| match value {
        toml::Value::Array(list) => list.iter().map(plain).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect(),
        other => vec![plain(other)],
    };
    Ok(table.iter().map(|(key, value)| (key.replace('-', "_"), values(value))).collect())
}

/// Returns one value per line, so that values may contain commas.
fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn knows(command: &Command, key: &str) -> bool {
    let is_named = |arg: &Arg| arg.get_id() == key || old_names(arg).any(|old| key_of(old) == key);
    key != "config" && command.get_arguments().any(|arg| is_setting(arg) && is_named(arg))
        || command.get_subcommands().any(|sub| knows(sub, key))
}

/// The renamed settings: old name and new name.
fn renamed(command: &Command) -> BTreeSet<(String, String)> {
    let names = |arg: &Arg| -> Vec<_> {
        let new = arg.get_long().unwrap_or_default();
        old_names(arg).map(|old| (old.to_owned(), new.to_owned())).collect()
    };
    command.get_arguments().flat_map(names).chain(command.get_subcommands().flat_map(renamed)).collect()
}

/// The old flags of a setting, without dashes.
fn old_names(arg: &Arg) -> impl Iterator<Item = &str> {
    arg.get_all_aliases().into_iter().flatten()
}

/// The key of a flag in the settings file.
fn key_of(flag: &str) -> String {
    flag.replace('-', "_")
}

/// The environment variable of a key.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key_of(key).to_uppercase())
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some()
        && !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
}

fn layer(
    mut command: Command,
    file: &BTreeMap<String, Vec<String>>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Command, String> {
    let with_subcommands = command.has_subcommands();
    let ids: Vec<_> = command.get_arguments().filter(|arg| is_setting(arg)).map(|arg| arg.get_id().clone()).collect();
    for id in ids {
        let variable = variable_of(id.as_str());
        let arg = command.get_arguments().find(|arg| *arg.get_id() == id).expect("listed above");
        let old: Vec<String> = old_names(arg).map(str::to_owned).collect();
        // An empty variable counts as unset, so that a shared environment file can leave it blank.
        let value = |variable: String| environment(&variable).filter(|value| !value.is_empty());
        let given = value(variable.clone()).or_else(|| old.iter().find_map(|old| value(variable_of(old))));
        let is_secret = arg.is_hide_env_values_set();
        let many = arg.get_action().takes_values() && matches!(arg.get_action(), ArgAction::Append);
        let secret = match environment(&format!("{variable}_FILE")) {
            Some(path) if is_secret && given.is_none() => {
                let read = fs::read_to_string(&path)
                    .map_err(|error| format!("{variable}_FILE: can't read {}: {error}", Path::new(&path).display()))?;
                Some(match many {
                    true => lines_of(&read),
                    false => vec![read.trim_end().to_owned()],
                })
            }
            _ => None,
        };
        let in_file = file.get(id.as_str()).or_else(|| old.iter().find_map(|old| file.get(&key_of(old))));
        let from_file = in_file.cloned();
        command = command.mut_arg(id, |arg| {
            // clap would read the process's environment, but tests pass their own.
            let from_environment = given.map(|value| {
                let text = value.to_string_lossy().into_owned();
                if many { text.split(',').map(str::to_owned).collect() } else { vec![text] }
            });
            let arg = if is_secret { arg.hide_default_value(true) } else { arg };
            // Settings of all subcommands may stand before or after the subcommand's name.
            let arg = if with_subcommands { arg.global(true) } else { arg };
            let note = format!("[env: {variable}]");
            let arg = match arg.get_help().map(ToString::to_string) {
                Some(help) if !help.contains(&note) => arg.help(format!("{help} {note}")),
                _ => arg,
            };
            match from_environment.or(secret).or(from_file) {
                Some(values) => arg.default_values(values).required(false),
                None => arg,
            }
        });
    }
    for sub in command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect::<Vec<_>>() {
        let layered = layer(command.find_subcommand(&sub).expect("listed above").clone(), file, environment)?;
        command = command.mut_subcommand(sub, |_| layered);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Debug, Parser, PartialEq)]
    struct Example {
        /// A settings file.
        #[arg(long)]
        config: Option<std::path::PathBuf>,
        /// How much.
        #[arg(long, alias = "how-much", default_value_t = 1)]
        amount: u32,
        /// Which.
        #[arg(long)]
        region: String,
        /// Several.
        #[arg(long = "sport", id = "sport")]
        sports: Vec<String>,
        /// A secret.
        #[arg(long, hide_env_values = true)]
        api_key: Option<String>,
        /// Several secrets.
        #[arg(long = "property", id = "property", hide_env_values = true)]
        properties: Vec<String>,
        /// Yes or no.
        #[arg(long)]
        loud: bool,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn read(args: &[&str], environment: &[(&str, &str)]) -> Result<Example, clap::Error> {
        let args = std::iter::once("example").chain(args.iter().copied()).map(OsString::from).collect();
        load_from(args, &|name| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn flags_are_stronger_than_environment_than_file_than_defaults() {
        let file = file("amount = 2\nregion = \"uk\"\nsport = [\"a\", \"b\"]\nloud = true\n");
        let path = file.path().to_str().unwrap();
        let from_file = read(&["--config", path], &[]).unwrap();
        assert_eq!((from_file.amount, from_file.region.as_str(), from_file.loud), (2, "uk", true));
        assert_eq!(from_file.sports, ["a", "b"]);
        let over = read(&["--region", "eu"], &[("TOTEBOARD_CONFIG", path), ("TOTEBOARD_AMOUNT", "3")]).unwrap();
        assert_eq!((over.amount, over.region.as_str()), (3, "eu"));
        let flag = read(&["--region=eu", "--amount=4"], &[("TOTEBOARD_AMOUNT", "3"), ("TOTEBOARD_SPORT", "x,y")]);
        let flag = flag.unwrap();
        assert_eq!((flag.amount, flag.sports.len()), (4, 2));
        assert_eq!(read(&["--region=eu"], &[]).unwrap().amount, 1);
    }

    #[test]
    fn a_setting_is_known_by_its_old_name_everywhere() {
        let file = file("how-much = 2\n");
        let from_file = read(&["--region=uk"], &[("TOTEBOARD_CONFIG", file.path().to_str().unwrap())]).unwrap();
        assert_eq!(from_file.amount, 2);
        assert_eq!(read(&["--region=uk"], &[("TOTEBOARD_HOW_MUCH", "3")]).unwrap().amount, 3);
        assert_eq!(read(&["--region=uk", "--how-much=4"], &[("TOTEBOARD_AMOUNT", "3")]).unwrap().amount, 4);
        let both = read(&["--region=uk"], &[("TOTEBOARD_HOW_MUCH", "3"), ("TOTEBOARD_AMOUNT", "5")]).unwrap();
        assert_eq!(both.amount, 5, "the new name takes precedence");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let unknown = file("regoin = \"uk\"\n");
        let error = read(&["--config", unknown.path().to_str().unwrap()], &[]).unwrap_err().to_string();
        assert!(error.contains("regoin"), "{error}");
        let mistyped = file("region = \"uk\"\namount = \"much\"\n");
        let error = read(&["--config", mistyped.path().to_str().unwrap()], &[]).unwrap_err().to_string();
        assert!(error.contains("much") && error.contains("--amount"), "{error}");
        let error = read(&["--config", "/nowhere/at.all", "--region", "uk"], &[]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at.all"), "{error}");
    }

    #[test]
    fn a_secret_comes_from_a_file_and_is_not_shown() {
        let secret = file("s3cret\n");
        let environment = [("TOTEBOARD_API_KEY_FILE", secret.path().to_str().unwrap())];
        let example = read(&["--region", "uk"], &environment).unwrap();
        assert_eq!(example.api_key.as_deref(), Some("s3cret"));
        let help = read(&["--help"], &environment).unwrap_err().to_string();
        assert!(help.contains("TOTEBOARD_API_KEY") && !help.contains("s3cret"), "{help}");
    }

    #[test]
    fn a_file_may_hold_several_secrets_and_their_commas() {
        let secrets = file("# of anna\nuser=anna\n\n  password=s3,c=ret\r\n");
        let environment = [("TOTEBOARD_PROPERTY_FILE", secrets.path().to_str().unwrap())];
        assert_eq!(read(&["--region", "uk"], &environment).unwrap().properties, ["user=anna", "password=s3,c=ret"]);
    }
}
