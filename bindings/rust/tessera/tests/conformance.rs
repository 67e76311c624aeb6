//! Runs the list of scenarios that every binding runs: `conformance SCENARIOS.json FOLDER`, as
//! tests/conformance/README.md of the sources says. Without arguments it says that it runs nothing.

#[path = "common/json.rs"]
mod json;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::os::unix::io::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use json::Json;
use tessera::{
    CacheType, CancelEffect, Chat, ChatOptions, Engine, EngineOptions, Error, Event, GenerateOptions,
    Metadata, Model, ModelOptions, Queue, QueueOptions, Runtime, RuntimeOptions, Session, SessionOptions,
    Source, StateInfo, StateOptions, TextFlags, Value,
};

/// How long a wait may last before the step fails.
const PATIENCE: Duration = Duration::from_secs(100);

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (list, folder) = match &arguments[..] {
        [list, folder] => (list, folder),
        _ => {
            println!("skipped: no scenarios were given (conformance SCENARIOS.json FOLDER; ctest does)");
            return ExitCode::SUCCESS;
        }
    };
    let text = std::fs::read_to_string(list).expect("the list can be read");
    let all = Json::parse(&text).expect("the list is JSON");
    assert_eq!(all.get("format"), Some(&Json::Int(1)), "a list of another form");
    let tolerance = match all.get("tolerance") {
        Some(Json::Float(value)) => *value,
        _ => 0.0,
    };
    let (mut failed, mut count) = (0, 0);
    for scenario in all.get("scenarios").unwrap().list() {
        let name = scenario.get("name").and_then(Json::text).unwrap();
        let mut world = World { folder: folder.clone(), beside: list.clone(), ..World::default() };
        count += 1;
        match world.run(name, scenario.get("steps").unwrap().list(), tolerance) {
            Ok(()) => println!("ok {}", name),
            Err(what) => {
                failed += 1;
                println!("FAILED {}: {}", name, what);
            }
        }
    }
    println!("{} scenarios, {} failed", count, failed);
    ExitCode::from(u8::from(failed > 0 || count == 0))
}

enum Problem {
    /// The library's answer, which the list may expect.
    Refused(Error),
    /// The types make the step impossible.
    Impossible(&'static str),
    /// The list or the library is wrong.
    Broken(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Refused(error)
    }
}

type Given = Result<Vec<(&'static str, Json)>, Problem>;

/// Everything that a scenario made, by name.
#[derive(Default)]
struct World {
    folder: PathBuf,
    beside: PathBuf,
    runtimes: HashMap<String, Runtime>,
    models: HashMap<String, Model>,
    engines: HashMap<String, Engine>,
    queues: HashMap<String, Queue>,
    sessions: HashMap<String, Session>,
    states: HashMap<String, Vec<u8>>,
    called: Arc<Mutex<HashMap<String, usize>>>,
}

struct Step<'a>(&'a Json);

impl<'a> Step<'a> {
    fn text(&self, key: &str) -> Result<&'a str, Problem> {
        let value = self.0.get(key).and_then(Json::text);
        value.ok_or_else(|| Problem::Broken(format!("the step has no text '{}'", key)))
    }

    fn int(&self, key: &str) -> Result<i64, Problem> {
        let value = self.0.get(key).and_then(Json::int);
        value.ok_or_else(|| Problem::Broken(format!("the step has no number '{}'", key)))
    }

    fn list(&self, key: &str) -> &'a [Json] {
        self.0.get(key).map_or(&[], Json::list)
    }

    fn tokens(&self) -> Vec<i32> {
        self.list("tokens").iter().filter_map(Json::int).map(|token| token as i32).collect()
    }

    fn flags(&self) -> TextFlags {
        let flag = |flag: &Json| match flag.text() {
            Some("PARSE_SPECIAL") => TextFlags::PARSE_SPECIAL,
            Some("ADD_SPECIAL") => TextFlags::ADD_SPECIAL,
            other => panic!("the flag {:?} is new", other),
        };
        self.list("flags").iter().map(flag).fold(TextFlags::PLAIN, |all, flag| all | flag)
    }

    /// Settings but for callbacks.
    fn settings(&self) -> Vec<(&'a str, Value)> {
        let float = |value: &Json| match value {
            Json::Float(value) => *value,
            Json::Int(value) => *value as f64,
            _ => f64::NAN,
        };
        let setting = |option: &'a Json| {
            let (kind, key, value) = (option.list()[0].text().unwrap(), &option.list()[1], &option.list()[2]);
            let texts =
                || value.list().iter().map(|text| text.text().unwrap().to_string()).collect::<Vec<_>>();
            let value = match kind {
                "int" => Value::Int(value.int().unwrap()),
                "float" => Value::Float(float(value)),
                "bool" => Value::Bool(*value == Json::Bool(true)),
                "string" => Value::String(value.text().unwrap().into()),
                "ints" => Value::IntList(value.list().iter().filter_map(Json::int).collect()),
                "floats" => Value::FloatList(value.list().iter().map(float).collect()),
                "strings" => Value::StringList(texts()),
                "callbacks" => return None,
                other => panic!("options of type {} are new", other),
            };
            Some((key.text().unwrap(), value))
        };
        self.list("options").iter().filter_map(setting).collect()
    }

    /// What the callback of this key is to do.
    fn callback(&self, key: &str) -> Option<&'a str> {
        let options = self.list("options").iter().map(Json::list);
        let mut found = options.filter(|option| option[1].text() == Some(key));
        found.find(|option| option[0].text() == Some("callbacks")).and_then(|option| option[2].text())
    }
}

/// Builds one kind of options from a step; the list's settings keep their order.
macro_rules! options {
    ($kind:ident, $step:expr) => {
        $step.settings().into_iter().fold($kind::new(), |options, (key, value)| options.set(key, value))
    };
}

fn find<'a, T>(all: &'a HashMap<String, T>, name: &str) -> Result<&'a T, Problem> {
    all.get(name).ok_or_else(|| Problem::Broken(format!("nothing is called '{}'", name)))
}

fn find_mut<'a, T>(all: &'a mut HashMap<String, T>, name: &str) -> Result<&'a mut T, Problem> {
    all.get_mut(name).ok_or_else(|| Problem::Broken(format!("nothing is called '{}'", name)))
}

fn numbers(values: &[i32]) -> Json {
    Json::List(values.iter().map(|value| Json::Int((*value).into())).collect())
}

fn floats(values: &[f32]) -> Json {
    Json::List(values.iter().map(|value| Json::Float((*value).into())).collect())
}

fn hex(bytes: &[u8]) -> Json {
    Json::Text(bytes.iter().map(|byte| format!("{:02x}", byte)).collect())
}

impl World {
    fn run(&mut self, scenario: &str, steps: &[Json], tolerance: f64) -> Result<(), String> {
        for (number, step) in steps.iter().enumerate() {
            let what = step.get("do").and_then(Json::text).unwrap_or("");
            let given = match self.step(what, &Step(step)) {
                Ok(fields) => fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
                Err(Problem::Refused(error)) => {
                    let mut fields = vec![("status".to_string(), Json::Text(error.status().name().into()))];
                    // A place counts where one is expected.
                    if step.get("expect").and_then(|expected| expected.get("place")).is_some() {
                        fields.push(("place".into(), Json::Text(error.place().into())));
                    }
                    if step.get("expect").is_none() {
                        return Err(format!("step {} ({}): {}", number, what, error));
                    }
                    fields
                }
                Err(Problem::Impossible(why)) => {
                    println!("skipped {}: step {} ({}): {}", scenario, number, what, why);
                    continue;
                }
                Err(Problem::Broken(why)) => return Err(format!("step {} ({}): {}", number, what, why)),
            };
            let given = Json::Object(given);
            match step.get("expect") {
                Some(expected) if !expected.accepts(&given, tolerance) => {
                    return Err(format!(
                        "step {} ({}): {} came instead of {}",
                        number, what, given, expected
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, file: &str) -> PathBuf {
        let (inside, beside) = (self.folder.join(file), self.beside.with_file_name(file));
        if inside.exists() || !beside.exists() {
            inside
        } else {
            beside
        }
    }

    fn counts(&self, key: &'static str) -> impl Fn() + Send + Sync + 'static {
        let called = self.called.clone();
        move || *called.lock().unwrap().entry(key.into()).or_default() += 1
    }

    fn step(&mut self, what: &str, step: &Step) -> Given {
        match what {
            "runtime" | "load" | "engine" | "queue" | "session" | "fork" | "restore" => self.make(what, step),
            "model_info" | "metadata" | "tokenize" | "detokenize" | "chat_template" => self.model(what, step),
            "wait" | "poll" | "step" | "step_until_idle" | "poll_together" | "wake" => {
                self.events(what, step)
            }
            "read_state" | "damage_state" | "same_state" | "probe" | "save" => self.state(what, step),
            "close" => {
                let name = step.text("name")?;
                match self.engines.get(name) {
                    Some(engine) => engine.close()?,
                    None => find(&self.runtimes, name)?.close()?,
                }
                Ok(vec![])
            }
            "release" => {
                let name = step.text("name")?;
                let found = self.runtimes.remove(name).is_some()
                    || self.models.remove(name).is_some()
                    || self.engines.remove(name).is_some()
                    || self.queues.remove(name).is_some()
                    || self.sessions.remove(name).is_some();
                found.then(Vec::new).ok_or_else(|| Problem::Broken(format!("nothing is called '{}'", name)))
            }
            "watched" => {
                let count = self.called.lock().unwrap().get(step.text("key")?).copied().unwrap_or(0);
                Ok(vec![("called", Json::Bool(count > 0))])
            }
            _ => self.session(what, step),
        }
    }

    fn make(&mut self, what: &str, step: &Step) -> Given {
        let name = step.text("as")?.to_string();
        match what {
            "runtime" => {
                let mut options = options!(RuntimeOptions, step);
                if step.callback("runtime.log").is_some() {
                    let count = self.counts("runtime.log");
                    options = options.log(move |_, _| count());
                }
                self.runtimes.insert(name, Runtime::with(&options)?);
            }
            "load" => {
                let model = self.load(step)?;
                self.models.insert(name, model);
            }
            "engine" => {
                let options = options!(EngineOptions, step);
                let engine = Engine::with(find(&self.models, step.text("model")?)?, &options)?;
                self.engines.insert(name, engine);
            }
            "queue" => {
                let mut options = options!(QueueOptions, step);
                if step.callback("queue.on_ready").is_some() {
                    options = options.on_ready(self.counts("queue.on_ready"));
                }
                let queue = Queue::with(find(&self.runtimes, step.text("runtime")?)?, &options)?;
                self.queues.insert(name, queue);
            }
            "session" => {
                let options = options!(SessionOptions, step);
                let session = find(&self.engines, step.text("engine")?)?.session_with(&options)?;
                self.sessions.insert(name, session);
            }
            "fork" => {
                let options = options!(SessionOptions, step);
                let session = find(&self.sessions, step.text("session")?)?.fork_with(&options)?;
                self.sessions.insert(name, session);
            }
            _ => {
                let (engine, state) =
                    (find(&self.engines, step.text("engine")?)?, find(&self.states, step.text("state")?)?);
                let (mut session, mut options) = (SessionOptions::new(), StateOptions::new());
                for (key, value) in step.settings() {
                    if key.starts_with("state.") {
                        options = options.set(key, value);
                    } else {
                        session = session.set(key, value);
                    }
                }
                let session = engine.restore_with(state, &session, &options)?;
                self.sessions.insert(name, session);
            }
        }
        Ok(vec![])
    }

    fn load(&self, step: &Step) -> Result<Model, Problem> {
        let mut options = options!(ModelOptions, step);
        if let Some(effect) = step.callback("model.progress") {
            let (count, stop) = (self.counts("model.progress"), effect == "stop");
            options = options.progress(move |_| {
                count();
                if stop {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        }
        let runtime = find(&self.runtimes, step.text("runtime")?)?;
        let path = self.path(step.text("file")?);
        let read = |path: &Path| std::fs::read(path).map_err(|error| Problem::Broken(error.to_string()));
        let from = step.0.get("from").and_then(Json::text).unwrap_or("file");
        Ok(match from {
            "file" => Model::load_with(runtime, &*path, &options)?,
            "descriptor" => {
                let file = std::fs::File::open(&path).map_err(|error| Problem::Broken(error.to_string()))?;
                let source = Source::File { file: file.as_fd(), offset: 0, size_bytes: 0 };
                Model::load_with(runtime, source, &options)?
            }
            "memory" => Model::load_with(runtime, &*read(&path)?, &options)?,
            "reader" => Model::load_with(runtime, Source::Reader(Box::new(read(&path)?)), &options)?,
            other => return Err(Problem::Broken(format!("loading from '{}' is new", other))),
        })
    }

    fn model(&mut self, what: &str, step: &Step) -> Given {
        let model = find(&self.models, step.text("model")?)?;
        Ok(match what {
            "model_info" => {
                let info = model.info()?;
                let token = |token: Option<i32>| Json::Int(token.unwrap_or(-1).into());
                vec![
                    ("parameters", Json::Int(info.parameters)),
                    ("vocabulary_size", Json::Int(info.vocabulary_size.into())),
                    ("context_tokens", Json::Int(info.context_tokens.into())),
                    ("layers", Json::Int(info.layers.into())),
                    ("hidden_size", Json::Int(info.hidden_size.into())),
                    ("bos_token", token(info.bos_token)),
                    ("end_token", token(info.end_token)),
                    ("hash", hex(&info.hash)),
                    ("tokenizer_hash", hex(&info.tokenizer_hash)),
                    ("device", Json::Text(info.device)),
                ]
            }
            "metadata" => {
                let values: Vec<Json> = match model.metadata(step.text("key")?)? {
                    Metadata::Int(values) => values.into_iter().map(Json::Int).collect(),
                    Metadata::Float(values) => values.into_iter().map(Json::Float).collect(),
                    Metadata::String(values) => {
                        let text = |bytes| Json::Text(String::from_utf8(bytes).expect("UTF-8"));
                        values.into_iter().map(text).collect()
                    }
                    other => return Err(Problem::Broken(format!("{:?}", other))),
                };
                let first = values.iter().take(8).cloned().collect();
                vec![("count", Json::Int(values.len() as i64)), ("first", Json::List(first))]
            }
            "tokenize" => {
                vec![("tokens", numbers(&model.tokenize(step.text("text")?, step.flags())?))]
            }
            "detokenize" => {
                let text = model.detokenize(&step.tokens(), step.flags())?;
                vec![("text", Json::Text(String::from_utf8(text).expect("UTF-8")))]
            }
            _ => {
                let chat = Chat::from_json(step.0.get("messages").unwrap_or(&Json::Null).to_string());
                let text = model.apply_chat_template(&chat, &options!(ChatOptions, step))?;
                vec![("text", Json::Text(text))]
            }
        })
    }

    fn session(&mut self, what: &str, step: &Step) -> Given {
        let session = find_mut(&mut self.sessions, step.text("session")?)?;
        match what {
            "append_text" if step.0.get("bytes").is_some() => {
                return Err(Problem::Impossible("a str is UTF-8"));
            }
            "append_text" => session.append_text(step.text("text")?, step.flags())?,
            "append_tokens" => session.append_tokens(&step.tokens())?,
            "append_chat" => {
                let chat = Chat::from_json(step.0.get("messages").unwrap_or(&Json::Null).to_string());
                session.append_chat_with(&chat, &options!(ChatOptions, step))?;
            }
            "generate" => {
                let queue = find(&self.queues, step.text("queue")?)?;
                session.submit(&options!(GenerateOptions, step), queue, step.int("tag")? as u64)?;
            }
            "cancel" => {
                let keep = step.text("effect")? == "KEEP";
                session.canceller().cancel(if keep { CancelEffect::Keep } else { CancelEffect::Drop })?;
            }
            "rewind" => session.rewind(step.int("count")? as usize)?,
            "park" => session.park()?,
            "tokens" => return Ok(vec![("tokens", numbers(&session.tokens()?))]),
            "token_count" => return Ok(vec![("count", Json::Int(session.token_count()? as i64))]),
            "logits" => {
                let logits = session.logits()?;
                // The first one of the largest.
                let largest = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
                return Ok(vec![
                    ("count", Json::Int(logits.len() as i64)),
                    ("largest", Json::Int(largest.unwrap_or(0) as i64)),
                    ("first", floats(&logits[..8])),
                ]);
            }
            _ => return Err(Problem::Broken("this step is new".into())),
        }
        Ok(vec![])
    }

    fn state(&mut self, what: &str, step: &Step) -> Given {
        match what {
            "save" => {
                let options = options!(StateOptions, step);
                let state = find_mut(&mut self.sessions, step.text("session")?)?.save_with(&options)?;
                let size = state.len() as i64;
                self.states.insert(step.text("as")?.into(), state);
                Ok(vec![("size", Json::Int(size))])
            }
            "read_state" => {
                let state = std::fs::read(self.path(step.text("file")?));
                let state = state.map_err(|error| Problem::Broken(error.to_string()))?;
                self.states.insert(step.text("as")?.into(), state);
                Ok(vec![])
            }
            "damage_state" => {
                let mut state = find(&self.states, step.text("state")?)?.clone();
                state[step.int("at")? as usize] ^= 1;
                self.states.insert(step.text("as")?.into(), state);
                Ok(vec![])
            }
            "same_state" => {
                let (one, two) =
                    (find(&self.states, step.text("one")?)?, find(&self.states, step.text("two")?)?);
                Ok(vec![("same", Json::Bool(one == two))])
            }
            _ => {
                let info = StateInfo::probe(find(&self.states, step.text("state")?)?)?;
                let cache_type = match info.cache_type {
                    CacheType::None => -1,
                    CacheType::F32 => 0,
                    CacheType::F16 => 1,
                    CacheType::Bf16 => 2,
                    CacheType::Int8 => 3,
                    other => return Err(Problem::Broken(format!("{:?}", other))),
                };
                Ok(vec![
                    ("size_bytes", Json::Int(info.size_bytes as i64)),
                    ("token_count", Json::Int(info.token_count as i64)),
                    ("cached_tokens", Json::Int(info.cached_tokens as i64)),
                    ("version", Json::Int(info.version.into())),
                    ("cache_type", Json::Int(cache_type)),
                    ("complete", Json::Int(info.complete.into())),
                ])
            }
        }
    }

    fn events(&mut self, what: &str, step: &Step) -> Given {
        let mut answers = Answers::default();
        match what {
            "wait" => {
                let wanted = step.int("finished")? as usize;
                let queue = find_mut(&mut self.queues, step.text("queue")?)?;
                let engine = find(&self.engines, step.text("engine")?)?;
                while answers.finished < wanted {
                    if !answers.add(queue.wait(engine, Some(PATIENCE))?)? {
                        return Err(Problem::Broken("no event came".into()));
                    }
                }
                Ok(vec![("answers", answers.json(step.list("without")))])
            }
            "poll" => {
                let queue = find_mut(&mut self.queues, step.text("queue")?)?;
                while answers.add(queue.poll(Some(Duration::ZERO))?)? {}
                Ok(vec![("answers", answers.json(&[]))])
            }
            "step" => {
                let mut stepper = find(&self.engines, step.text("engine")?)?.stepper()?;
                let mut work_left = false;
                for _ in 0..step.int("times").unwrap_or(1) {
                    work_left = stepper.step_batch()?.work_left;
                }
                Ok(vec![("work_left", Json::Int(work_left.into()))])
            }
            "step_until_idle" => {
                let mut stepper = find(&self.engines, step.text("engine")?)?.stepper()?;
                while stepper.step_batch()?.work_left {}
                Ok(vec![])
            }
            "wake" => {
                find(&self.queues, step.text("queue")?)?.waker().wake()?;
                Ok(vec![])
            }
            _ => Err(Problem::Impossible("polling takes &mut Queue: two at once do not compile")),
        }
    }
}

/// What came for each tag.
#[derive(Default)]
struct Answers {
    all: BTreeMap<u64, Answer>,
    finished: usize,
}

#[derive(Default)]
struct Answer {
    tokens: Vec<i32>,
    text: String,
    logprobs: Vec<f32>,
    top: Vec<Json>,
    end: Vec<(String, Json)>,
}

impl Answers {
    /// Whether there were events.
    fn add(&mut self, events: tessera::Events<'_>) -> Result<bool, Problem> {
        let mut some = false;
        for event in events {
            some = true;
            let tag = match &event {
                Event::Tokens(event) => event.tag,
                Event::Finished(event) => event.tag,
                _ => continue,
            };
            let answer = self.all.entry(tag).or_default();
            if !answer.end.is_empty() {
                return Err(Problem::Broken(format!("tag {}: more after the last event", tag)));
            }
            match event {
                Event::Tokens(event) => {
                    answer.tokens.extend_from_slice(event.tokens);
                    answer.text.push_str(event.text);
                    answer.logprobs.extend_from_slice(event.logprobs);
                    for i in 0..event.tokens.len() {
                        let pair = |one: &tessera::TokenLogprob| {
                            Json::List(vec![Json::Int(one.token.into()), Json::Float(one.logprob.into())])
                        };
                        if !event.top(i).is_empty() {
                            answer.top.push(Json::List(event.top(i).iter().map(pair).collect()));
                        }
                    }
                }
                Event::Finished(event) => {
                    self.finished += 1;
                    let end = event.finished;
                    let reason = format!("TSR_FINISH_{}", format!("{:?}", end.reason).to_uppercase());
                    answer.end = vec![
                        ("reason".into(), Json::Text(reason)),
                        ("status".into(), Json::Text(end.status.name().into())),
                        ("prompt_tokens".into(), Json::Int(end.prompt_tokens.into())),
                        ("generated_tokens".into(), Json::Int(end.generated_tokens.into())),
                        ("last_token".into(), Json::Int(end.last_token.unwrap_or(-1).into())),
                    ];
                }
                _ => {}
            }
        }
        Ok(some)
    }

    fn json(self, without: &[Json]) -> Json {
        let answer = |(tag, answer): (u64, Answer)| {
            let mut fields = vec![
                ("tag".to_string(), Json::Int(tag as i64)),
                ("tokens".into(), numbers(&answer.tokens)),
                ("text".into(), Json::Text(answer.text)),
            ];
            if !answer.logprobs.is_empty() {
                fields.push(("logprobs".into(), floats(&answer.logprobs)));
            }
            if !answer.top.is_empty() {
                fields.push(("top".into(), Json::List(answer.top)));
            }
            fields.extend(answer.end);
            fields.retain(|(key, _)| !without.iter().any(|name| name.text() == Some(key)));
            Json::Object(fields)
        };
        Json::List(self.all.into_iter().map(answer).collect())
    }
}
