//! Imports: what comes out of a file is what went into it, or it is refused.

use std::{
    io::Cursor,
    sync::{Arc, atomic::Ordering},
};

use historian::{ExportFormat, ExportSettings, Imported, Progress, import};
use history::{ExportError, ExportReader, Store};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rusqlite::{Connection, types::Value};
use tokio_util::sync::CancellationToken;

use crate::{
    counting::Counting,
    histories::{REGION, Scene, are_equal, everything},
};

async fn import_into(store: &Arc<dyn Store>, file: &[u8]) -> Imported {
    let input = Cursor::new(file.to_vec());
    import(input, store.clone(), &CancellationToken::new(), Progress::hidden()).await.unwrap()
}

async fn import_whole(scene: &Scene, file: &[u8]) {
    let imported = import_into(&scene.store, file).await;
    assert!(matches!(imported, Imported::Complete { .. }), "{imported}");
}

/// The error, and how many steps were imported before it.
async fn import_refused(scene: &Scene, file: &[u8]) -> (String, u64, bool) {
    match import_into(&scene.store, file).await {
        Imported::Refused { reason, steps } => (reason.to_string(), steps, reason.is_damage()),
        other => panic!("{other}"),
    }
}

/// Every row of every table.
fn rows(scene: &Scene) -> Vec<(String, Vec<Vec<Value>>)> {
    let connection = Connection::open(scene.folder.path().join("history.db")).unwrap();
    let tables = ["logs", "texts", "steps", "keyframes", "quotes", "quote_changes", "event_changes"];
    let rows_of = |table: &str| {
        let mut select = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        let rows = select.query_map([], row).unwrap().map(Result::unwrap).collect();
        (table.to_owned(), rows)
    };
    tables.map(rows_of).into()
}

#[tokio::test]
async fn an_imported_history_is_the_same() {
    let mut random = StdRng::seed_from_u64(1);
    for seed in 0..25 {
        let (scene, copy) = (Scene::random(seed, 100).await, Scene::empty());
        let file = scene.exported(ExportFormat::Jsonl).await;
        import_whole(&copy, &file).await;
        are_equal(&scene, &copy, &mut random).await;
        assert!(copy.exported(ExportFormat::Jsonl).await == file, "the copy of seed {seed} is exported otherwise");
        let before = rows(&copy);
        import_whole(&copy, &file).await;
        assert_eq!(rows(&copy), before, "importing again changes something");
        import_whole(&scene, &file).await;
        assert!(scene.exported(ExportFormat::Jsonl).await == file, "importing into itself changes something");
    }
}

#[tokio::test]
async fn days_can_be_imported_in_any_order() {
    let mut random = StdRng::seed_from_u64(2);
    let scene = Scene::regular(2, 300).await;
    let steps = scene.steps().await;
    let middle = steps[steps.len() / 2].0;
    let (whole, output) = (scene.exported(ExportFormat::Jsonl).await, scene.folder.path().join("days"));
    let mut days = Vec::new();
    for (from, to) in [(None, Some(middle)), (Some(middle), None)] {
        let settings = ExportSettings { from, to, ..everything(ExportFormat::Jsonl, &output) };
        scene.export(&settings).await.unwrap();
        days.push(std::fs::read(&output).unwrap());
        std::fs::remove_file(&output).unwrap();
    }
    for order in [[0, 1], [1, 0]] {
        let copy = Scene::empty();
        for day in order {
            import_whole(&copy, &days[day]).await;
        }
        are_equal(&scene, &copy, &mut random).await;
        assert!(copy.exported(ExportFormat::Jsonl).await == whole, "{order:?}");
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_imported_up_to_there_and_goes_on() {
    let mut random = StdRng::seed_from_u64(3);
    let scene = Scene::random(3, 60).await;
    let file = scene.exported(ExportFormat::Jsonl).await;
    let is_step = |line: &&[u8]| line.starts_with(br#"{"event":"odds"#) || line.starts_with(br#"{"event":"snapshot"#);
    let copy = Scene::empty();
    let mut cuts: Vec<usize> = (0..20).map(|_| random.random_range(200..file.len())).collect();
    cuts.sort_unstable();
    for cut in cuts {
        let cut = &file[..cut];
        let (error, steps, is_damaged) = import_refused(&copy, cut).await;
        let lines: Vec<&[u8]> = cut.split_inclusive(|byte| *byte == b'\n').collect();
        let whole = lines.iter().filter(|line| line.ends_with(b"\n")).count();
        assert_eq!(error, format!("it ends after line {whole}, before its last line: it was cut off"));
        assert_eq!(steps as usize, lines[..whole].iter().filter(|line| is_step(line)).count());
        assert!(is_damaged);
    }
    import_whole(&copy, &file).await;
    are_equal(&scene, &copy, &mut random).await;
}

fn read_all(file: &[u8]) -> Result<u64, ExportError> {
    let mut reader = ExportReader::open(file)?;
    let mut steps = 0;
    while reader.next_step()?.is_some() {
        steps += 1;
    }
    Ok(steps)
}

#[tokio::test]
async fn every_cut_and_every_flipped_byte_is_noticed() {
    let mut random = StdRng::seed_from_u64(4);
    let file = Scene::random(4, 12).await.exported(ExportFormat::Jsonl).await;
    assert!(read_all(&file).unwrap() > 5);
    for at in 0..file.len() {
        let error = read_all(&file[..at]).unwrap_err().to_string();
        assert!(error.contains("cut off") || error.contains("not an exported history"), "cut at {at}: {error}");
        let mut flipped = file.clone();
        flipped[at] ^= 1 << random.random_range(0..8);
        let error = read_all(&flipped).unwrap_err();
        let line = 1 + file[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        let named = match error {
            ExportError::Line { number, .. } => number,
            ExportError::CutOff { lines } => lines + 1,
            ExportError::Io(error) => panic!("{error}"),
        };
        assert!(named == line, "a bit of byte {at} in line {line} was flipped: {error}");
    }
}

#[tokio::test]
async fn a_line_that_is_missing_twice_there_or_elsewhere_is_noticed() {
    let mut random = StdRng::seed_from_u64(5);
    for seed in 0..10 {
        let file = Scene::random(seed, 40).await.exported(ExportFormat::Jsonl).await;
        let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() {
            let mut missing = lines.clone();
            missing.remove(at);
            read_all(&missing.concat()).unwrap_err();
            let mut twice = lines.clone();
            twice.insert(at, lines[at]);
            read_all(&twice.concat()).unwrap_err();
            let (mut moved, other) = (lines.clone(), random.random_range(0..lines.len()));
            moved.swap(at, other);
            assert!(at == other || read_all(&moved.concat()).is_err(), "lines {at} and {other} of seed {seed}");
        }
    }
}

/// The line with a checksum that fits.
fn forged(line: &str) -> String {
    let content = &line[..line.rfind(r#","crc":"#).unwrap()];
    format!("{content},\"crc\":\"{:08x}\"}}", crc32fast::hash(content.as_bytes()))
}

#[tokio::test]
async fn forged_lines_are_refused_and_leave_what_was_before_them() {
    let scene = Scene::regular(6, 30).await;
    let file = String::from_utf8(scene.exported(ExportFormat::Jsonl).await).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let removals: Vec<String> = (0..5).map(|n| format!(r#"{{"id":"event-{n}","removed":true}},"#)).collect();
    let removals = format!(r#""events":[{}"#, removals.concat());
    let replacements = [
        (r#""price":"#, r#""price":9e99,"x":"#),
        (r#""price":"#, r#""price":-1,"x":"#),
        (r#""price":"#, r#""price":123456789012345678901234567890,"x":"#),
        (r#""price":"#, r#""price":"1.9","x":"#),
        (r#""price":"#, r#""price":null,"x":"#),
        (r#""price":"#, r#""prize":"#),
        (r#""name":"#, r#""name":7,"x":"#),
        (r#""last_update":"#, r#""last_update":"yesterday","x":"#),
        (r#"Z","outcomes":[{"#, r#"+01:00","outcomes":[{"#),
        (r#""bookmaker":"b"#, r#""bookmaker":" b"#),
        (r#""outcomes":"#, r#""outcomes":{},"x":"#),
        (r#""outcomes":[{"#, r#""outcomes":[],"x":[{"#),
        (r#""outcomes":"#, &format!(r#""outcomes":{deep},"x":"#)),
        (r#""events":"#, &format!(r#""events":{deep},"x":"#)),
        (r#""events":["#, r#""events":[7,"#),
        (r#""events":["#, &removals),
        (r#""id":"event"#, r#""id":"other"#),
        (r#""region":"uk""#, r#""region":"us""#),
        (r#""region":"uk""#, r#""region":"mars""#),
        (r#""cursor":""#, r#""cursor":""#.trim_end_matches('"')),
        (r#""at":""#, r#""at":"1"#),
        (r#""data":{"#, r#""data":7,"x":{"#),
        (r#""marker":{"#, r#""marker":{},"x":{"#),
        (r#""marker":{"#, r#""marker":null,"x":{"#),
        (r#""marker":"#, &format!(r#""marker":{deep},"x":"#)),
        (r#""digest":""#, r#""digest":"0"#),
        (r#""seq":"#, r#""seq":-"#),
        (r#""seq":"#, r#""seq":9"#),
        (r#""seq":"#, r#""seq":18446744073709551615,"x":"#),
        (r#""log":""#, r#""log":"9"#),
        (r#""log":""#, r#""log":"x"#),
        (r#""next_by":"#, r#""next_by":7,"x":"#),
        (r#""event":"odds""#, r#""event":"unknown""#),
        (r#""event":"odds""#, r#""event":7"#),
        (r#""event":"odds""#, r#""event":"snapshot""#),
        (r#""event":"odds""#, r#""event":"gap""#),
        (r#""event":"odds""#, r#""event":"end""#),
        (r#""event":"odds""#, r#""event":"export""#),
    ];
    for (from, to) in replacements {
        // A line that has the text, in the middle of the file.
        let is_there = |n: &usize| lines[*n].contains(from) && lines[*n].contains(r#""event":"odds""#);
        let at = (10..lines.len()).find(is_there).unwrap_or_else(|| panic!("{from} is nowhere"));
        let mut with_forged: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        with_forged[at] = forged(&lines[at].replacen(from, to, 1));
        assert_ne!(with_forged[at], lines[at], "{to}");
        let copy = Scene::empty();
        let to: String = to.chars().take(60).collect();
        let imported = import_into(&copy.store, (with_forged.join("\n") + "\n").as_bytes()).await;
        let Imported::Refused { reason, steps } = imported else { panic!("{from} -> {to}: {imported}") };
        let (error, is_damaged) = (reason.to_string(), reason.is_damage());
        assert!(error.starts_with(&format!("line {}: ", at + 1)), "{from} -> {to}: {error}");
        assert!(error.len() < 400 && is_damaged, "{error}");
        assert_eq!(steps as usize, at - 2, "the header and the first gap are no steps");
        assert_eq!(copy.steps().await, scene.steps().await[..at - 2], "{from} -> {to}");
    }
}

/// Later versions may add fields.
#[tokio::test]
async fn fields_of_any_depth_that_are_not_known_are_passed_over() {
    let scene = Scene::regular(6, 5).await;
    let file = String::from_utf8(scene.exported(ExportFormat::Jsonl).await).unwrap();
    let deep = format!(r#""x":{}1{},"data":"#, "[".repeat(100_000), "]".repeat(100_000));
    let lines: Vec<String> = file.lines().map(|line| forged(&line.replacen(r#""data":"#, &deep, 1))).collect();
    assert_eq!(read_all((lines.join("\n") + "\n").as_bytes()).unwrap(), 5);
}

#[tokio::test]
async fn what_is_no_export_is_refused() {
    let scene = Scene::empty();
    let newer = r#"{"event":"export","data":{"version":2,"area":"uk"},"crc":"0"}"#;
    for (file, reason) in [
        (String::new(), "line 1: this is not an exported history"),
        ("\n".to_owned(), "line 1: this is not an exported history"),
        ("time,until,kind\r\n".to_owned(), "line 1: this is not an exported history"),
        ("\u{0}\u{1}".repeat(1_000), "line 1: this is not an exported history"),
        (forged(newer) + "\n", "line 1: its format 2 is that of another version of this program"),
        (forged(&newer.replace("export", "odds")) + "\n", "line 1: this is not an exported history"),
    ] {
        let (error, steps, is_damaged) = import_refused(&scene, file.as_bytes()).await;
        assert_eq!((error.as_str(), steps, is_damaged), (reason, 0, false));
    }
    let (error, ..) = import_refused(&scene, &[0xff, b'\n']).await;
    assert_eq!(error, "line 1: it is not text in UTF-8");
}

/// Two leaders went on from the same step, which can't be unless two topics are mixed up.
#[tokio::test]
async fn a_store_with_other_steps_refuses_the_file() {
    let (scene, other) = (Scene::forked(7, 40, Some((20, 5))).await, Scene::forked(7, 60, Some((20, 6))).await);
    let file = other.exported(ExportFormat::Jsonl).await;
    let before = rows(&scene);
    let forked = scene.exported(ExportFormat::Jsonl).await;
    let (error, steps, is_damaged) = import_refused(&scene, &file).await;
    assert!(!is_damaged && error.contains("the store has another step at position 21 of log"), "{error}");
    assert_eq!(steps, 20);
    assert_eq!(rows(&scene), before);
    assert!(scene.exported(ExportFormat::Jsonl).await == forked);
}

#[tokio::test]
async fn an_import_writes_few_steps_at_once() {
    let (scene, copy) = (Scene::regular(9, 3_000).await, Scene::empty());
    let file = scene.exported(ExportFormat::Jsonl).await;
    let output = scene.folder.path().join("exported");
    let store = Counting::before(copy.store.clone(), output);
    import_into(&(store.clone() as Arc<dyn Store>), &file).await;
    assert_eq!(store.most_appended.load(Ordering::Relaxed), 200);
    assert_eq!(copy.store.last_step(REGION).await, scene.store.last_step(REGION).await);
}
