//! Exports, and how they go on after they were cut off.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, atomic::Ordering},
};

use historian::{ExportFormat, ExportSettings, Exported, GoOn, Progress};
use history::{ExportReader, Moment, Store};
use odds::{EventId, Outcome, Region, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use crate::{
    counting::Counting,
    histories::{REGION, Scene, everything, noon},
};

const FORMATS: [ExportFormat; 2] = [ExportFormat::Jsonl, ExportFormat::Csv];

#[tokio::test]
async fn an_export_that_was_cut_off_anywhere_goes_on_to_the_same_bytes() {
    let mut random = StdRng::seed_from_u64(1);
    for format in FORMATS {
        let (short, long) = (Scene::random(1, 6).await, Scene::random(2, 60).await);
        let (few, many) = (short.exported(format).await, long.exported(format).await);
        let anywhere = (0..=few.len()).map(|cut| (&short, &few, cut));
        let somewhere = (0..150).map(|_| (&long, &many, random.random_range(0..many.len())));
        for (scene, whole, cut) in anywhere.chain(somewhere) {
            let settings = everything(format, &scene.folder.path().join("cut"));
            let path = settings.output.clone().unwrap();
            fs::write(&path, &whole[..cut]).unwrap();
            let exported = scene.export(&settings).await.unwrap();
            assert!(matches!(exported, Exported::Complete { .. }), "{format:?} cut at {cut}");
            assert!(fs::read(&path).unwrap() == *whole, "{format:?} of {} bytes cut at {cut}", whole.len());
        }
    }
}

/// The bytes after a cut may be anything, for example after a power failure.
#[tokio::test]
async fn a_line_that_is_not_what_was_written_is_written_again() {
    let scene = Scene::regular(3, 40).await;
    let whole = scene.exported(ExportFormat::Jsonl).await;
    let settings = everything(ExportFormat::Jsonl, &scene.folder.path().join("damaged"));
    let path = settings.output.clone().unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let mut random = StdRng::seed_from_u64(3);
    for _ in 0..50 {
        let mut damaged = whole.clone();
        let at = random.random_range(header + 1..whole.len());
        damaged[at..].fill(0);
        fs::write(&path, &damaged).unwrap();
        scene.export(&settings).await.unwrap();
        assert!(fs::read(&path).unwrap() == whole, "zeros from {at} on");
    }
}

#[tokio::test]
async fn an_export_that_is_interrupted_after_each_step_goes_on() {
    let scene = Scene::random(4, 30).await;
    for format in FORMATS {
        let whole = scene.exported(format).await;
        let settings = everything(format, &scene.folder.path().join("interrupted"));
        let stop = CancellationToken::new();
        stop.cancel();
        let interrupted = settings.export(scene.store.clone(), &stop, Progress::hidden()).await.unwrap();
        assert!(matches!(interrupted, Exported::Interrupted { go_on: GoOn::InTheFile, .. }));
        assert!(interrupted.to_string().contains("run the same command again"), "{interrupted}");
        let path = settings.output.clone().unwrap();
        assert!(whole.starts_with(&fs::read(&path).unwrap()));
        scene.export(&settings).await.unwrap();
        assert!(fs::read(&path).unwrap() == whole, "{format:?}");
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn what_is_recorded_later_is_added() {
    let (before, after) = (Scene::regular(5, 40).await, Scene::regular(5, 90).await);
    for format in FORMATS {
        let path = before.folder.path().join("growing");
        let settings = everything(format, &path);
        before.export(&settings).await.unwrap();
        after.export(&settings).await.unwrap();
        assert!(fs::read(&path).unwrap() == after.exported(format).await, "{format:?}");
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_alone() {
    let (scene, other) = (Scene::random(6, 40).await, Scene::random(7, 40).await);
    let path = scene.folder.path().join("file");
    let refused = async |scene: &Scene, settings: ExportSettings, content: &[u8]| {
        fs::write(&path, content).unwrap();
        let error = format!("{:#}", scene.export(&settings).await.unwrap_err());
        assert!(fs::read(&path).unwrap() == content, "{error}: and the file was changed");
        assert!(error.contains("another file"), "{error}");
    };
    for format in FORMATS {
        let whole = scene.exported(format).await;
        let settings = everything(format, &path);
        refused(&scene, settings.clone(), b"a diary\n").await;
        refused(&scene, settings.clone(), &[0xff; 300]).await;
        refused(&other, settings.clone(), &whole).await;
        refused(&scene, ExportSettings { region: Region::Us, ..settings.clone() }, &whole).await;
        let steps = scene.steps().await;
        let (from, to) = (Some(steps[steps.len() / 2].0), Some(steps[steps.len() / 3].0));
        refused(&scene, ExportSettings { from, ..settings.clone() }, &whole).await;
        refused(&scene, ExportSettings { to, ..settings.clone() }, &whole).await;
        let other_format = FORMATS.into_iter().find(|other| *other != format).unwrap();
        refused(&scene, ExportSettings { format: other_format, ..settings }, &whole).await;
    }
}

#[tokio::test]
async fn two_exports_to_the_same_file_do_not_mix() {
    let scene = Scene::regular(8, 10).await;
    let settings = everything(ExportFormat::Jsonl, &scene.folder.path().join("file"));
    let held = fs::File::create(settings.output.as_ref().unwrap()).unwrap();
    held.lock().unwrap();
    let error = format!("{:#}", scene.export(&settings).await.unwrap_err());
    assert!(error.contains("another export is writing"), "{error}");
}

#[tokio::test]
async fn a_range_has_the_steps_that_a_playback_has() {
    let mut random = StdRng::seed_from_u64(9);
    for seed in 0..20 {
        let scene = Scene::random(seed, 60).await;
        let steps = scene.steps().await;
        let (begin, end) = (steps[0].0.plus_millis(-5_000), steps[steps.len() - 1].0.plus_millis(5_000));
        for n in 0..10 {
            let from = begin.plus_millis(random.random_range(0..end.millis_since(begin)));
            let to = from.plus_millis(random.random_range(0..=end.millis_since(from)));
            let output = Some(scene.folder.path().join(format!("range-{n}")));
            let settings =
                ExportSettings { from: Some(from), to: Some(to), output, ..everything(FORMATS[0], "".as_ref()) };
            scene.export(&settings).await.unwrap();
            let file = fs::read(settings.output.unwrap()).unwrap();
            let mut reader = ExportReader::open(&file[..]).unwrap();
            let mut read = Vec::new();
            while let Some(step) = reader.next_step().unwrap() {
                read.push(step.id);
            }
            let starts_with_board = scene.store.board_at(REGION, Moment::At(from)).await.map(|board| board.id);
            let after = steps.iter().filter(|(at, ..)| (from.plus_millis(1)..=to).contains(at)).map(|(_, id, _)| *id);
            let expected: Vec<_> = starts_with_board.into_iter().chain(after).collect();
            assert_eq!(read, expected, "seed {seed} from {from} to {to}");
        }
    }
}

#[tokio::test]
async fn an_empty_history_is_an_export_without_steps() {
    let scene = Scene::empty();
    let file = scene.exported(ExportFormat::Jsonl).await;
    assert!(ExportReader::open(&file[..]).unwrap().next_step().unwrap().is_none());
    let file = scene.exported(ExportFormat::Csv).await;
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 1);
}

/// An analyst's view: what rows say is what boards say.
#[tokio::test]
async fn rows_lead_from_each_board_to_the_next() {
    type Key = (String, String, String, String, String, String);
    for seed in 0..20 {
        let scene = Scene::random(seed, 80).await;
        let file = scene.exported(ExportFormat::Csv).await;
        let mut rows = csv::Reader::from_reader(&file[..]);
        let names = rows.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
        let field = |row: &csv::StringRecord, name: &str| -> String {
            row[names.iter().position(|it| it == name).unwrap()].to_owned()
        };
        let mut prices = BTreeMap::<Key, String>::new();
        let mut starts = BTreeMap::<String, String>::new();
        let mut next = 0;
        let mut last: Option<Timestamp> = None;
        for (n, (at, id, is_after_gap)) in scene.steps().await.into_iter().enumerate() {
            if let Some(last) = last.filter(|_| is_after_gap) {
                let gap = &rows[next];
                assert_eq!(
                    (field(gap, "kind"), field(gap, "time").parse(), field(gap, "until").parse()),
                    ("gap".to_owned(), Ok(last.min(at)), Ok(at))
                );
                prices.clear();
                next += 1;
            }
            last = Some(at);
            let is_whole = n == 0 || is_after_gap;
            let of_step =
                |row: &&csv::StringRecord| field(row, "time").parse() == Ok(at) && field(row, "kind") != "gap";
            let board = scene.store.board_at(REGION, Moment::Step(id)).await.unwrap();
            for row in rows[next..].iter().take_while(of_step) {
                next += 1;
                assert_eq!(field(row, "seq"), board.position.seq.to_string());
                assert_eq!(field(row, "feed"), board.marker.state.key());
                starts.insert(field(row, "event"), field(row, "start"));
                let names = ["event", "bookmaker", "market", "outcome", "point", "description"];
                let [a, b, c, d, e, f] = names.map(|name| field(row, name));
                let before = prices.remove(&(a.clone(), b.clone(), c.clone(), d.clone(), e.clone(), f.clone()));
                let (kind, price) = (field(row, "kind"), field(row, "price"));
                match kind.as_str() {
                    "board" => assert!(is_whole && before.is_none() && !price.is_empty()),
                    "price" => assert!(!is_whole && !price.is_empty() && before.as_ref() != Some(&price)),
                    "withdrawn" => assert!(!is_whole && price.is_empty() && before.is_some()),
                    "event" | "feed" => continue,
                    kind => panic!("{kind}"),
                }
                assert_eq!(field(row, "previous_price"), before.unwrap_or_default());
                if !price.is_empty() {
                    prices.insert((a, b, c, d, e, f), price);
                }
            }
            let mut expected = BTreeMap::new();
            for (event, bookmaker, market, outcome) in outcomes(&board.board, &mut starts) {
                let Outcome { name, price, point, description } = outcome;
                let point = point.map(|point| point.to_string()).unwrap_or_default();
                let key = (event, bookmaker, market, name, point, description.unwrap_or_default());
                // A missing description and an empty one are the same in CSV.
                expected.entry(key).or_insert(price.to_string());
            }
            let keys = |prices: &BTreeMap<Key, String>| prices.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&prices), keys(&expected), "seed {seed} at {at}");
        }
        assert_eq!(next, rows.len());
    }
}

/// All outcomes on a board. Asserts that the start of each event that was named is the one that was named last.
fn outcomes(board: &odds::Board, starts: &mut BTreeMap<String, String>) -> Vec<(String, String, String, Outcome)> {
    let ids: Vec<EventId> = board.event_ids().cloned().collect();
    let mut all = Vec::new();
    for id in ids {
        let image = board.image(&id, noon()).unwrap();
        if let Some(start) = starts.get(id.as_str()) {
            assert_eq!(start.parse(), Ok(image.details.commence_time));
        }
        for ((bookmaker, market), quote) in image.quotes {
            let named = |outcome| (id.to_string(), bookmaker.to_string(), market.to_string(), outcome);
            all.extend(quote.outcomes.to_vec().into_iter().map(named));
        }
    }
    all
}

#[tokio::test]
async fn an_export_holds_few_steps_of_a_long_history() {
    let scene = Scene::regular(10, 4_000).await;
    for format in FORMATS {
        let settings = everything(format, &scene.folder.path().join("long"));
        let store = Counting::before(scene.store.clone(), settings.output.clone().unwrap());
        settings.export(store.clone() as Arc<dyn Store>, &CancellationToken::new(), Progress::hidden()).await.unwrap();
        let held = store.most_held.load(Ordering::Relaxed);
        assert!(held > 0 && held < 1_000, "{format:?}: {held} steps were held");
        fs::remove_file(settings.output.unwrap()).unwrap();
    }
}

/// A file of Parquet as the rows of a CSV file, with numbers as they are read.
fn rows_of_parquet(file: &std::path::Path) -> Vec<Vec<String>> {
    use parquet::{file::reader::FileReader, file::serialized_reader::SerializedFileReader, record::Field};
    let reader = SerializedFileReader::new(fs::File::open(file).unwrap()).unwrap();
    let text = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Long(number) => number.to_string(),
        Field::Double(number) => number.to_string(),
        Field::TimestampMillis(at) => at.to_string(),
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    rows.map(|row| row.get_column_iter().map(|(_, field)| text(field)).collect()).collect()
}

#[tokio::test]
async fn parquet_has_the_rows_of_csv() {
    let times = ["time", "until", "start", "last_update"];
    let numbers = ["point", "price", "previous_price"];
    for seed in 20..24 {
        let scene = Scene::random(seed, 80).await;
        let file = scene.exported(ExportFormat::Csv).await;
        let mut csv = csv::Reader::from_reader(&file[..]);
        let columns: Vec<String> = csv.headers().unwrap().iter().map(str::to_owned).collect();
        let expected: Vec<Vec<String>> = csv
            .records()
            .map(|row| {
                let fields = row.unwrap();
                let fields = columns.iter().zip(fields.iter()).map(|(column, field)| match column.as_str() {
                    _ if field.is_empty() => String::new(),
                    time if times.contains(&time) => field.parse::<odds::Timestamp>().unwrap().as_millis().to_string(),
                    number if numbers.contains(&number) => field.parse::<f64>().unwrap().to_string(),
                    _ => field.to_owned(),
                });
                fields.collect()
            })
            .collect();
        let settings = everything(ExportFormat::Parquet, &scene.folder.path().join("rows.parquet"));
        scene.export(&settings).await.unwrap();
        let path = settings.output.clone().unwrap();
        assert!(expected.len() > 50);
        assert_eq!(rows_of_parquet(&path), expected, "seed {seed}");
        // It can't be continued.
        let before = fs::read(&path).unwrap();
        let error = format!("{:#}", scene.export(&settings).await.unwrap_err());
        assert!(error.contains("choose another file") && fs::read(&path).unwrap() == before, "{error}");
    }
}

#[tokio::test]
async fn an_interrupted_parquet_is_whole_up_to_there() {
    let scene = Scene::random(24, 60).await;
    let settings = everything(ExportFormat::Parquet, &scene.folder.path().join("interrupted.parquet"));
    let stop = CancellationToken::new();
    stop.cancel();
    let interrupted = settings.export(scene.store.clone(), &stop, Progress::hidden()).await.unwrap();
    let Exported::Interrupted { at, go_on: GoOn::InAnotherFile } = interrupted else { panic!("{interrupted}") };
    let rows = rows_of_parquet(settings.output.as_ref().unwrap());
    assert!(rows.iter().all(|row| row[0] == at.as_millis().to_string()), "{rows:?}");
}
