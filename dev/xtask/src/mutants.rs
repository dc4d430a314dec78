//! Mutation tests: removes the rules of the board's reader and writer one at a time, and checks that a test then fails.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    root,
    steps::{MINUTE, compile, empty_folder, output, run, step},
    target,
};

struct Rule {
    /// What the reader or the writer does, in words.
    rule: &'static str,
    file: &'static str,
    /// The source text of the rule, which occurs exactly once in the file.
    with: &'static str,
    without: &'static str,
    test: &'static str,
}

const READER: &str = "crates/odds/src/topic/reader.rs";
const WRITER: &str = "crates/odds/src/topic/writer.rs";

const RULES: [Rule; 14] = [
    Rule {
        rule: "a step is complete when its marker is in every partition: one is not enough",
        file: READER,
        with: "if arrived.after.len() < self.partitions.len() {",
        without: "if arrived.after.is_empty() {",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "it is exactly its marker that counts: another record of the step, or of a later one, does not",
        file: READER,
        with: "if arrived.after.len() < self.partitions.len() {",
        without: "if self.partitions.iter().any(|it| StepId::new(it.term, it.step) < id) {",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "behind a term's fence, records of lower terms are ignored",
        file: READER,
        with: "let late = id <= it.over;",
        without: "let late = id.term == it.over.term && id <= it.over;",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "also where compaction has dropped the fence: behind any record of a greater term",
        file: READER,
        with: "it.over = it.over.max(if matches!(kind, RecordKind::Marker(_)) { id } else { fence });",
        without: "if matches!(kind, RecordKind::Marker(_)) { it.over = it.over.max(id) }",
        test: "random::random_histories",
    },
    Rule {
        rule: "behind a step's marker in its partition, records of that step change nothing",
        file: READER,
        with: "it.over = it.over.max(if matches!(kind, RecordKind::Marker(_)) { id } else { fence });",
        without: "it.over = it.over.max(fence);",
        test: "forged::another_record_behind_a_steps_marker_changes_nothing",
    },
    Rule {
        rule: "what comes late is a loose end",
        file: READER,
        with: "self.loose.insert((partition, event), offset);",
        without: "let _ = (partition, event);",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "what was applied without a marker of its term is a loose end",
        file: READER,
        with: "if !proven {",
        without: "if false {",
        test: "random::random_histories",
    },
    Rule {
        rule: "loose ends are remembered across terms",
        file: READER,
        with: "None => Progress::Fenced,",
        without: "None => { self.loose.clear(); Progress::Fenced }",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "a loose end is tied by a record behind the one that made it, not by one before",
        file: READER,
        with: "self.loose.get(&end).is_some_and(|made| *made < offset)",
        without: "self.loose.contains_key(&end)",
        test: "random::random_histories",
    },
    Rule {
        rule: "a leader writes over loose ends in its next step",
        file: WRITER,
        with: "wanted.extend(loose.iter().map(|event| (*event, None)));",
        without: "",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "and in every partition",
        file: WRITER,
        with: "match (&value, loose.contains(event)) {",
        without: "match (&value, false) {",
        test: "forged::what_was_forged_is_written_over_in_the_next_step",
    },
    Rule {
        rule: "a step has the place after the last complete one in its log",
        file: "crates/odds/src/topic/log_position.rs",
        with: "let seq = seq.checked_add(1)",
        without: "let seq = Some(seq)",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "a removal goes to every partition",
        file: WRITER,
        with: "(None, _) => step_records.records.extend((0..partitions).map(out)),",
        without: "(None, _) => step_records.records.push(out(self.turn(partitions))),",
        test: "exhaustive::two_leaders_of_two_steps_and_all_boards_of_an_event",
    },
    Rule {
        rule: "a record whose term or step no leader can have reached is ignored",
        file: READER,
        with: "if !id.is_plausible_after(StepId::new(it.term, it.step)) {",
        without: "if false {",
        test: "forged::impossible_terms_and_steps_stop_nobody",
    },
];

/// Removes each rule in a copy of the checkout in the target folder, so that no working file is touched. Fails if a
/// rule's test passes without the rule.
pub(crate) fn mutants() -> anyhow::Result<()> {
    let folder = target().join("mutants");
    let tree = folder.join("tree");
    empty_folder(&tree)?;
    let files = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    for file in output("git", &files)?.split('\0') {
        let (from, to) = (root().join(file), tree.join(file));
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
            fs::copy(&from, &to).with_context(|| from.display().to_string())?;
        }
    }
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--quiet", "--package", "toteboard-odds", "--test", "it"]).args(arguments);
        cargo.current_dir(&tree).env("CARGO_TARGET_DIR", folder.join("target"));
        // Code that only the removed rule uses would be reported as unused.
        cargo.env("RUSTFLAGS", "--allow=warnings");
        cargo
    };
    compile("compiling the rules", &mut cargo(&["--no-run"]))?;
    let mut tests: Vec<&str> = RULES.iter().map(|it| it.test).collect();
    tests.sort_unstable();
    tests.dedup();
    step("the rules' tests, with all rules in place", 10 * MINUTE, cargo(&["--", "--exact"]).args(tests))?;
    let mut missed = Vec::new();
    for it in &RULES {
        let file = tree.join(it.file);
        let whole = fs::read_to_string(&file)?;
        fs::write(&file, changed(&whole, it)?)?;
        compile(&format!("without this: {}", it.rule), &mut cargo(&["--no-run"]))?;
        let mut test = cargo(&["--", "--exact", it.test]);
        let ended = run(Some(TEST_WITHIN), test.stdout(Stdio::null()).stderr(Stdio::null()));
        fs::write(&file, whole)?;
        // A test that runs forever fails, too.
        let passes = ended.is_ok_and(|status| status.success());
        println!("{}: without it, {} {}", it.rule, it.test, if passes { "PASSES" } else { "fails" });
        if passes {
            missed.push(it.rule);
        }
    }
    ensure!(missed.is_empty(), "tests pass without these rules: {missed:#?}");
    Ok(())
}

const TEST_WITHIN: Duration = Duration::from_secs(120);

fn changed(whole: &str, Rule { rule, file, with, without, .. }: &Rule) -> anyhow::Result<String> {
    let count = whole.matches(with).count();
    ensure!(count == 1, "{rule}: {with:?} occurs {count} times in {file}, not once: update mutants.rs");
    Ok(whole.replace(with, without))
}
