//! The log files of a process. This is a separate test program because a process can start logging only once.

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;
use serde_json::Value;
use service::LogSettings;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    log: LogSettings,
}

#[test]
fn log_files_are_closed_when_they_are_full_and_only_some_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made");
    let settings = ["", "--log=warn,logs=info", "--log-format=json", "--log-max-size=1", "--log-keep=2", "--log-dir"];
    let settings = settings.map(PathBuf::from).into_iter().chain([folder.clone()]);
    let logs = Program::parse_from(settings).log.start("trial").unwrap();
    let filling = "x".repeat(1_000);
    for n in 0..5_000 {
        tracing::info!(n, filling);
        // Lines that are logged faster than the disk can write are dropped.
        if n % 500 == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    tracing::info!("the last line");
    tracing::debug!("not asked for");
    drop(logs);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let names: Vec<&str> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["trial.log", "trial.log.1", "trial.log.2"]);
    for path in &files[1..] {
        let size = fs::metadata(path).unwrap().len();
        assert!((900_000..1_100_000).contains(&size), "{} has {size} bytes", path.display());
    }
    let [newest, older] = [0, 1].map(|at| fs::read_to_string(&files[at]).unwrap());
    assert!(newest.lines().last().unwrap().contains("the last line"), "{newest}");
    // The files are consecutive.
    let number = |line: Option<&str>| serde_json::from_str::<Value>(line.unwrap()).unwrap()["fields"]["n"].as_u64();
    assert_eq!(number(older.lines().last()).unwrap() + 1, number(newest.lines().next()).unwrap());
}
