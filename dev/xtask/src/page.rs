//! Builds the page: compiles the Leptos app to wasm, generates its JavaScript glue, adds content hashes to file names,
//! and compresses every file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use wasm_bindgen_cli_support::Bindgen;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    coverage, prerequisites, root,
    steps::{compile, output, remove_folder, works},
    target,
};

const TRIPLE: &str = "wasm32-unknown-unknown";
const PACKAGE: &str = "toteboard-web";

/// Builds the page and returns its folder. Fails if the page is larger than its limit.
pub(crate) fn build(no_install: bool) -> anyhow::Result<PathBuf> {
    let wasm = compile_app(no_install)?;
    let page = target().join("page-site");
    let source = fs::read(&wasm).with_context(|| wasm.display().to_string())?;
    let stamp = format!("{:016x}", xxh3_64(&source) ^ inputs()?);
    if fs::read_to_string(page.join(".stamp")).is_ok_and(|before| before == stamp) {
        return Ok(page);
    }
    eprintln!("==> assembling the page");
    let glue = target().join("page-glue");
    remove_folder(&glue)?;
    fs::create_dir_all(&glue)?;
    let first = split(&source, &glue)?;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(&first).out_name("app").web(true)?.typescript(false).keep_lld_exports(true);
    bindgen.remove_name_section(true).remove_producers_section(true);
    let mut output = bindgen.generate_output().context("wasm-bindgen")?;
    let unused = remove_unused_exports(output.wasm_mut());
    output.emit(&glue).context("wasm-bindgen")?;
    let code = glue.join("app.js");
    fs::write(&code, without_unused(&fs::read_to_string(&code)?, &unused))?;
    remove_folder(&page)?;
    plain_names(&glue)?;
    assemble(&glue, &page)?;
    weigh(&page)?;
    fs::write(page.join(".stamp"), stamp)?;
    Ok(page)
}

/// Returns a hash of all inputs besides the wasm.
fn inputs() -> anyhow::Result<u64> {
    let mut files: Vec<PathBuf> = vec![root().join("web/index.html"), root().join("dev/xtask/src/page.rs")];
    for entry in fs::read_dir(root().join("web/assets"))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(fs::read(file)?);
    }
    Ok(xxh3_64(&all))
}

/// Ensures a compiler for wasm: rustup's target, or Debian's Rust if rustup can't add the target.
pub(crate) fn ensure(no_install: bool) -> anyhow::Result<()> {
    // `works` hides the output: if rustup fails, Debian's Rust is tried.
    if rustup_has_target() || !no_install && works("rustup", &["target", "add", TRIPLE]) {
        return Ok(());
    }
    prerequisites::ensure(prerequisites::DEBIAN_WASM, no_install).context(
        "the page needs Rust's wasm target: `rustup target add wasm32-unknown-unknown` fails here, \
         and the alternative, Debian's Rust packages, is not installed",
    )
}

/// Compiles the app and returns the path of its wasm file.
fn compile_app(no_install: bool) -> anyhow::Result<PathBuf> {
    ensure(no_install)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["rustc", "--package", PACKAGE, "--profile", "page", "--target", TRIPLE]);
    cargo.args(["--config", &without_home()?]).env_remove(coverage::WRAPPER_VARIABLE);
    if !rustup_has_target() {
        use_debian(&mut cargo)?;
    }
    // The page is split along its relocations.
    cargo.args(["--", "-C", "link-arg=--emit-relocs"]);
    compile("compiling the page to wasm", &mut cargo)?;
    Ok(target().join(TRIPLE).join("page").join(format!("{PACKAGE}.wasm")))
}

/// Returns the cargo setting that removes cargo's home folder from paths in panic messages. Otherwise the page would
/// contain the builder's user name, and its size would depend on the machine.
fn without_home() -> anyhow::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "cargo's variable, not one of our settings")]
    let set = std::env::var("CARGO_HOME").map(PathBuf::from).ok();
    let cargo = set.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let cargo = cargo.context("cannot find cargo's home folder: set CARGO_HOME")?;
    let flag = format!("--remap-path-prefix={}=", cargo.join("registry/src").display());
    Ok(format!("target.{TRIPLE}.rustflags = {}", serde_json::to_string(&[flag])?))
}

fn rustup_has_target() -> bool {
    let library = |sysroot: String| Path::new(&sysroot).join("lib/rustlib").join(TRIPLE).is_dir();
    output("rustc", &["--print", "sysroot"]).is_ok_and(library)
}

/// Makes cargo use Debian's compiler. Debian has the sources of the standard library but no wasm build of it and no
/// linker, so the library is built here, and the linker is the one in rustup's toolchain.
fn use_debian(cargo: &mut Command) -> anyhow::Result<()> {
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let host = output("rustc", &["--print", "host-tuple"])?;
    let linker = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld");
    if !linker.is_file() {
        bail!("no wasm linker at {}", linker.display());
    }
    cargo
        .args(["-Z", "build-std=std,panic_abort"])
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    Ok(())
}

/// Splits the app: what is marked as lazy, and only that needs, is loaded when it is first shown. Returns the file that
/// is loaded first.
fn split(wasm: &[u8], glue: &Path) -> anyhow::Result<PathBuf> {
    let first = glue.join(FIRST);
    let mut options = wasm_split_cli_support::Options::new(wasm);
    options.output_dir = glue;
    options.main_out_path = &first;
    let link = format!("./{LATER}");
    options.link_name = &link;
    options.main_module = "./app.js";
    let parts = wasm_split_cli_support::transform(options).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    for part in parts.split_modules {
        let whole = fs::read(&part)?;
        fs::write(&part, without_names(&whole).with_context(|| part.display().to_string())?)?;
    }
    Ok(first)
}

/// What is loaded first, before its glue is generated.
const FIRST: &str = "first.wasm";

/// Returns a wasm module without its custom sections, which are names and the like.
fn without_names(wasm: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut kept) = (wasm.get(8..)?, wasm.get(..8)?.to_vec());
    while let [kind, tail @ ..] = rest {
        let (mut length, mut digits) = (0_usize, 0);
        loop {
            let byte = *tail.get(digits)?;
            length |= usize::from(byte & 0x7f) << (7 * digits);
            digits += 1;
            if byte < 0x80 {
                break;
            }
        }
        let end = 1 + digits + length;
        if *kind != 0 {
            kept.extend(rest.get(..end)?);
        }
        rest = rest.get(end..)?;
    }
    Some(kept)
}

/// Removes the streams that Leptos exports for server functions, which the page doesn't use, and all code that only
/// they need. The linker keeps them because they are exported. Returns the names of the imports that became unused.
fn remove_unused_exports(module: &mut walrus::Module) -> BTreeSet<String> {
    let imports =
        |module: &walrus::Module| -> BTreeSet<String> { module.imports.iter().map(|it| it.name.clone()).collect() };
    let before = imports(module);
    let of_streams = |name: &str| name.trim_start_matches("__wbg_").starts_with(STREAMS);
    let unused: Vec<_> =
        module.exports.iter().filter(|export| of_streams(&export.name)).map(walrus::Export::id).collect();
    for export in unused {
        module.exports.delete(export);
    }
    walrus::passes::gc::run(module);
    before.difference(&imports(module)).cloned().collect()
}

const STREAMS: &str = "intounderlying";

/// Returns the glue without the removed streams' classes and without these imports.
fn without_unused(glue: &str, imports: &BTreeSet<String>) -> String {
    let mut until: Option<&str> = None;
    let lines = glue.lines().filter(|line| {
        if let Some(end) = until {
            if line.starts_with(end) {
                until = None;
            }
            return false;
        }
        let import = line.trim_start().split_once(": function(").map(|(name, _)| name);
        if import.is_some_and(|name| imports.contains(name)) {
            until = Some("        },");
        } else if line.starts_with("export class IntoUnderlying") {
            until = Some("}");
        } else if line.starts_with("const IntoUnderlying") {
            until = Some("    : ");
        } else {
            return !line.starts_with("if (Symbol.dispose) IntoUnderlying");
        }
        false
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Replaces the hashes in the names shared by wasm and glue with numbers, because hashes don't compress. Only wasm and
/// glue use these names.
fn plain_names(glue: &Path) -> anyhow::Result<()> {
    let (code, wasm) = (glue.join("app.js"), glue.join("app_bg.wasm"));
    let (mut text, mut binary) = (fs::read_to_string(&code)?, fs::read(&wasm)?);
    let is_hash = |word: &&str| word.len() == HASH && word.bytes().all(|it| it.is_ascii_hexdigit());
    let names = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').filter(|it| it.starts_with("__wbg_"));
    let hashes: BTreeSet<String> =
        names.filter_map(|name| name.rsplit('_').next()).filter(is_hash).map(str::to_owned).collect();
    for (number, hash) in hashes.iter().enumerate() {
        let plain = format!("{number:0HASH$}");
        text = text.replace(hash, &plain);
        // The same length, so that the sizes recorded in the wasm stay correct.
        let found: Vec<usize> = memmem(&binary, hash.as_bytes());
        for at in found {
            binary[at..at + HASH].copy_from_slice(plain.as_bytes());
        }
    }
    fs::write(code, text)?;
    Ok(fs::write(wasm, binary)?)
}

const HASH: usize = 16;

fn memmem(binary: &[u8], wanted: &[u8]) -> Vec<usize> {
    binary.windows(wanted.len()).enumerate().filter(|(_, it)| *it == wanted).map(|(at, _)| at).collect()
}

/// Adds a hash to every file name, updates the references between files, and writes and compresses all of them.
fn assemble(glue: &Path, page: &Path) -> anyhow::Result<()> {
    let assets = page.join("assets");
    let mut names = write_code(glue, &assets)?;
    let web = root().join("web");
    let mut files = Vec::new();
    for entry in fs::read_dir(web.join("assets"))? {
        let path = entry?.path();
        files.push((path.file_name().expect("a file").to_string_lossy().into_owned(), path));
    }
    // Every file comes after the files that it refers to; the worker's name has no hash.
    files.sort_by_key(|(name, _)| (name.ends_with(".json"), name.clone()));
    for (name, path) in files.iter().filter(|(name, _)| name != WORKER) {
        let mut content = fill(&fs::read(path).with_context(|| path.display().to_string())?, &names)?;
        if name == "style.css" {
            content = squeezed(&String::from_utf8(content)?).into_bytes();
        } else if name.ends_with(".js") {
            content = bare(&String::from_utf8(content)?).into_bytes();
        }
        let (stem, extension) = name.rsplit_once('.').context("a file without an extension")?;
        let hashed = format!("{stem}-{:016x}.{extension}", xxh3_64(&content));
        write(&assets.join(&hashed), &content)?;
        names.insert(name.clone(), hashed);
    }
    let index = fill(&fs::read(web.join("index.html"))?, &names)?;
    write(&page.join("index.html"), &index)?;
    let kept: Vec<String> = names.values().map(|name| format!("/assets/{name}")).chain(["/".to_owned()]).collect();
    let hash = xxh3_64(&[index, kept.concat().into_bytes()].concat());
    let shell = [("shell.name", format!("page-{hash:016x}")), ("shell.files", serde_json::to_string(&kept)?)];
    let shell = shell.map(|(name, value)| (name.to_owned(), value)).into();
    write(&page.join(WORKER), &fill(&fs::read(web.join("assets").join(WORKER))?, &shell)?)
}

/// The service worker, which keeps the page's files.
const WORKER: &str = "worker.js";

/// Writes the app's files into a folder whose name has the hash, because they refer to each other. Returns their final
/// names.
fn write_code(glue: &Path, assets: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(glue)? {
        let path = entry?.path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let content = fs::read(&path)?;
        let content = match name.as_str() {
            FIRST => continue,
            LATER => bare(&patient(&String::from_utf8(content)?)?).into_bytes(),
            _ if name.ends_with(".js") => bare(&String::from_utf8(content)?).into_bytes(),
            _ => content,
        };
        files.insert(name, content);
    }
    let all: Vec<u8> = files.values().flatten().copied().collect();
    let folder = format!("{:016x}", xxh3_64(&all));
    fs::create_dir_all(assets.join(&folder))?;
    let mut names = BTreeMap::new();
    for (name, content) in files {
        write(&assets.join(&folder).join(&name), &content)?;
        names.insert(name.clone(), format!("{folder}/{name}"));
    }
    Ok(names)
}

/// What loads the parts that are loaded later.
const LATER: &str = "later.js";

/// Returns the loader of later parts, so that it asks again for a part while the server is away: the app can't go on
/// without it.
fn patient(loader: &str) -> anyhow::Result<String> {
    const FETCH: &str = "const src = fetch(";
    anyhow::ensure!(loader.contains(FETCH), "{LATER} has no {FETCH:?}: the loader is not the one that is expected");
    let patient = "const load = (url) =>
        fetch(url)
            .then((answer) => (answer.ok ? answer : Promise.reject()))
            .catch(() => new Promise((resolve) => setTimeout(resolve, 2000)).then(() => load(url)));\n";
    Ok(loader.replace(FETCH, "const src = load(") + patient)
}

/// Returns code without comments and indentation, which are an eighth of its compressed size.
fn bare(code: &str) -> String {
    let mut in_comment = false;
    let lines = code.lines().map(str::trim).filter(|line| {
        in_comment |= line.starts_with("/**");
        let is_code = !in_comment && !line.is_empty() && !line.starts_with("//");
        in_comment &= !line.ends_with("*/");
        is_code
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns a style sheet without comments and insignificant spaces.
fn squeezed(css: &str) -> String {
    let mut plain = String::new();
    for (at, piece) in css.split("/*").enumerate() {
        plain += if at == 0 { piece } else { piece.split_once("*/").map_or("", |(_, rest)| rest) };
    }
    let mut squeezed = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    for (wide, narrow) in [(" {", "{"), ("{ ", "{"), ("; ", ";"), (";}", "}"), ("} ", "}"), (", ", ","), (": ", ":")] {
        squeezed = squeezed.replace(wide, narrow);
    }
    squeezed
}

/// Prints how many bytes a visitor downloads, and fails above the limits.
fn weigh(page: &Path) -> anyhow::Result<()> {
    let (mut first, mut later, mut chart) = (0, 0, 0);
    for path in files_in(page)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "br")) {
        let bytes = path.metadata()?.len();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        // The icon is loaded when the page is installed, and the worker some seconds after the board.
        if name.contains(".png") || name.starts_with("split_") || name.starts_with("chunk_") || name.starts_with(WORKER)
        {
            eprintln!("    {name} is {bytes} bytes, and loaded later");
            later = later.max(bytes);
        } else if name.starts_with("sparklines-") {
            eprintln!("    {name} is {bytes} bytes, and loaded some seconds after the board");
        } else if name.starts_with("chart-") {
            eprintln!("    {name} is {bytes} bytes, and loaded with the first opened event");
            chart = bytes;
        } else {
            first += bytes;
        }
    }
    eprintln!("    the page is {first} bytes with brotli");
    if first > MOST_BYTES {
        bail!("the page is too large: {first} bytes with brotli, the limit is {MOST_BYTES}");
    }
    if later > MOST_BYTES_LATER {
        bail!("a part that is loaded later is too large: {later} bytes with brotli, the limit is {MOST_BYTES_LATER}");
    }
    if chart > MOST_BYTES_OF_CHART {
        bail!("the chart is too large: {chart} bytes with brotli, the limit is {MOST_BYTES_OF_CHART}");
    }
    Ok(())
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_in(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Maximum size of all files of a first view, compressed with brotli.
const MOST_BYTES: u64 = 220_000;
/// Maximum size of a part that is loaded when it is first shown.
const MOST_BYTES_LATER: u64 = 26_000;
/// Maximum size of the code of charts.
const MOST_BYTES_OF_CHART: u64 = 10_000;

/// Replaces each `{{name}}` with the file's final name. Fails on an unknown name.
fn fill(content: &[u8], names: &BTreeMap<String, String>) -> anyhow::Result<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(content) else { return Ok(content.to_vec()) };
    let mut text = text.to_owned();
    for (name, hashed) in names {
        text = text.replace(&format!("{{{{{name}}}}}"), hashed);
    }
    if let Some(at) = text.find("{{").filter(|_| text.contains("}}") && !text.contains("wasm_bindgen")) {
        let rest: String = text[at..].chars().take(40).collect();
        if rest.contains("}}") {
            bail!("unknown file name in {rest:?}");
        }
    }
    Ok(text.into_bytes())
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content)?;
    let mut compressed = Vec::new();
    let settings = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::CompressorWriter::with_params(&mut compressed, 4096, &settings).write_all(content)?;
    let name = format!("{}.br", path.file_name().expect("a file").to_string_lossy());
    fs::write(path.with_file_name(name), compressed)?;
    Ok(())
}
