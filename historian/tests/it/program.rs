//! The program itself: its commands, their output and their exit codes.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use historian::ExportFormat;
use rusqlite::Connection;

use crate::histories::Scene;

fn historian(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_historian"));
    command.args(arguments).env_remove("TOTEBOARD_HISTORY");
    command
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = historian(arguments).output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

#[tokio::test]
async fn a_history_moves_from_one_store_to_another_through_a_pipe() {
    let scene = Scene::random(1, 200).await;
    let (from, to) = (url(&scene.folder.path().join("history.db")), url(&scene.folder.path().join("copy.db")));
    let mut export = historian(&["export", "--history", &from, "--region", "uk", "--format", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let import = historian(&["import", "--history", &to]).stdin(export.stdout.take().unwrap()).output().unwrap();
    assert!(export.wait().unwrap().success() && import.status.success(), "{}", text(&import.stderr));
    let steps = scene.steps().await.len();
    assert!(text(&import.stderr).ends_with(&format!("imported: {steps} steps of uk\n")), "{}", text(&import.stderr));

    let (code, said, _) = run(&["verify", "--history", &to, "--region", "uk"]);
    assert!(code == Some(0) && said.starts_with("uk: "), "{said}");
    assert!(said.contains(&format!("{steps} steps match their digests")), "{said}");
    let output = scene.folder.path().join("again.jsonl");
    let output = output.to_str().unwrap();
    let again = run(&["export", "--history", &to, "--region", "uk", "--format", "jsonl", "--output", output]);
    assert_eq!((again.0, again.1.as_str()), (Some(0), ""));
    assert!(fs::read(output).unwrap() == scene.exported(ExportFormat::Jsonl).await);
}

#[tokio::test]
async fn exit_codes_say_what_happened() {
    let scene = Scene::regular(2, 100).await;
    let folder = scene.folder.path();
    let (path, copy) = (folder.join("history.db"), url(&folder.join("copy.db")));
    let (history, file) = (url(&path), folder.join("file"));
    let file = file.to_str().unwrap();
    let missing = folder.join("missing.db");
    let (code, _, error) = run(&["verify", "--history", &url(&missing)]);
    assert!(code == Some(1) && error.contains("there is no file") && !missing.exists(), "{error}");
    assert_eq!(run(&["export", "--region", "uk", "--format", "csv"]).0, Some(2), "there is no --history");
    assert_eq!(run(&[]).0, Some(2), "there is no --history");

    fs::write(file, "a diary\n").unwrap();
    let (code, _, error) =
        run(&["export", "--history", &history, "--region", "uk", "--format", "jsonl", "--output", file]);
    assert!(code == Some(1) && error.contains("it is not an exported history"), "{error}");
    let (code, _, error) = run(&["import", "--history", &copy, file]);
    assert!(code == Some(1) && error.contains("line 1: this is not an exported history"), "{error}");

    let whole = scene.exported(ExportFormat::Jsonl).await;
    fs::write(file, &whole[..whole.len() / 2]).unwrap();
    let (code, _, error) = run(&["import", "--history", &copy, file]);
    assert!(code == Some(2) && error.contains("it was cut off") && error.contains("are in the store"), "{error}");

    let damaged = Connection::open(&path).unwrap().execute("UPDATE steps SET changes = x'ff' WHERE seq = 21", []);
    assert_eq!(damaged.unwrap(), 1);
    let (code, said, _) = run(&["verify", "--history", &history]);
    assert!(code == Some(2) && said.contains("no board until 2026-11-21T13:"), "{said}");
    fs::remove_file(file).unwrap();
    let (code, _, error) =
        run(&["export", "--history", &history, "--region", "uk", "--format", "jsonl", "--output", file]);
    assert!(code == Some(2) && error.contains("add --from 2026-11-21T13:"), "{error}");
    assert!(whole.starts_with(&fs::read(file).unwrap()), "the steps before the damaged one are exported");
}

fn signal(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Whoever writes to standard input may take any time. An interrupted import does not wait for it.
#[tokio::test]
async fn an_interrupted_command_says_how_to_go_on() {
    let scene = Scene::empty();
    let copy = url(&scene.folder.path().join("copy.db"));
    let mut import = historian(&["import", "--history", &copy]);
    let mut import = import.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let input = import.stdin.take();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !scene.folder.path().join("copy.db").exists() {
        assert!(std::time::Instant::now() < end, "it does not start");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    signal(&import);
    let ended = import.wait_with_output().unwrap();
    drop(input);
    let error = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{error}");
    assert!(error.contains("run the same command again to go on"), "{error}");
}
