//! The topic-creator program.

use std::process::ExitCode;

use clap::Parser;
use kafka::{KafkaSettings, TopicSpec, all_topics_with};
use service::ProgramSettings;
use topic_creator::{Command, CreateSettings, Created, TopicCreator};

/// The exit code when a topic differs from the plan.
const DIFFERS: u8 = 2;

/// Creates, lists and describes Kafka topics.
#[derive(Debug, Parser)]
#[command(name = "topic-creator", version)]
struct Settings {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    kafka: KafkaSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let Settings { command, kafka, program } = settings;
    let program = program.start("topic-creator")?;
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Create(settings) => create(&TopicCreator::new(&kafka)?, &settings).await,
        Command::List => list(&TopicCreator::new(&kafka)?).await.map(done),
        Command::Describe { topic } => describe(&TopicCreator::new(&kafka)?, topic.as_deref()).await.map(done),
        Command::Tail(settings) => {
            let stop = program.stopping();
            let finished = program.lifecycle.clone();
            program.lifecycle.run("tail", async move {
                let tail = move || topic_creator::tail(&kafka, &settings, &mut std::io::stdout(), &stop);
                tokio::task::spawn_blocking(tail).await??;
                finished.stop();
                Ok(())
            });
            program.wait().await.map(done)
        }
        Command::Produce(settings) => {
            let produce = move || topic_creator::produce(&kafka, &settings, &mut std::io::stdin().lock());
            let sent = tokio::task::spawn_blocking(produce).await??;
            println!("{sent} records acknowledged");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn create(creator: &TopicCreator, settings: &CreateSettings) -> anyhow::Result<ExitCode> {
    let plans = match &settings.topic {
        None => {
            let mut plans = all_topics_with(settings.keep_changes());
            plans.iter_mut().for_each(|plan| plan.replication = plan.replication.max(settings.least_replicas));
            plans
        }
        Some(name) => vec![TopicSpec {
            name: name.clone(),
            partitions: settings.partitions,
            replication: settings.replication_factor,
            settings: settings.settings.iter().map(|text| setting(text)).collect::<anyhow::Result<_>>()?,
        }],
    };
    let brokers = creator.wait_for_brokers(settings.wait()).await?;
    let mut code = ExitCode::SUCCESS;
    for plan in plans {
        let name = &plan.name;
        match creator.create(&plan, brokers, settings.fewer_replicas).await? {
            Created::New => println!("{name}: made"),
            Created::WasThere { changed, differs } if changed.is_empty() && differs.is_empty() => {
                println!("{name}: there already, as planned");
            }
            Created::WasThere { changed, differs } => {
                for it in changed {
                    println!("{name}: {} changed from {} to {}", it.what, shown(&it.found), it.planned);
                }
                for it in &differs {
                    println!("{name}: {} is {}, planned is {}", it.what, it.found, it.planned);
                }
                if !differs.is_empty() {
                    code = ExitCode::from(DIFFERS);
                }
            }
        }
    }
    Ok(code)
}

/// A value as it is printed.
fn shown(value: &str) -> &str {
    if value.is_empty() { "nothing" } else { value }
}

fn setting(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').ok_or_else(|| anyhow::anyhow!("--setting {text}: expected name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

async fn list(creator: &TopicCreator) -> anyhow::Result<()> {
    for topic in creator.topics().await? {
        println!("{}\t{} partitions\t{} replicas", topic.name, topic.partitions.len(), topic.replicas());
    }
    Ok(())
}

async fn describe(creator: &TopicCreator, only: Option<&str>) -> anyhow::Result<()> {
    let topics = match only {
        Some(name) => vec![creator.topic(name).await?],
        None => creator.topics().await?,
    };
    for topic in topics {
        for partition in topic.partitions {
            let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
            println!(
                "{}\tpartition {}\tleader {}\treplicas {}\tin sync {}",
                topic.name,
                partition.id,
                partition.leader,
                ids(&partition.replicas),
                ids(&partition.in_sync)
            );
        }
    }
    Ok(())
}
