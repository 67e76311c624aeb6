//! A command-line tool over a model file:
//!
//!   tessera info MODEL                      what the model is and what an engine over it takes
//!   tessera tokens MODEL TEXT               the text's tokens
//!   tessera generate MODEL TEXT [OPTION...] goes on with the text
//!   tessera ask MODEL QUESTION [OPTION...]  answers through the model's chat template
//!
//! Options: --tokens N, --temperature T, --top-p P, --seed N, --stop TEXT, --save STATE, --restore STATE.

use std::error::Error;
use std::io::{stdout, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tessera::{Chat, Engine, GenerateOptions, Model, Plan, PlanOptions, Runtime, Session, TextFlags};

const USAGE: &str = "usage: tessera info MODEL | tokens MODEL TEXT | generate MODEL TEXT [OPTION...] | \
                     ask MODEL QUESTION [OPTION...]\noptions: --tokens N, --temperature T, --top-p P, --seed N, \
                     --stop TEXT, --save STATE, --restore STATE";

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match &words[..] {
        ["info", model] => info(Path::new(model)),
        ["tokens", model, text] => tokens(Path::new(model), text),
        ["generate", model, text, options @ ..] => run(Path::new(model), text, false, options),
        ["ask", model, text, options @ ..] => run(Path::new(model), text, true, options),
        _ => {
            eprintln!("{}", USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tessera: {}", error);
            ExitCode::FAILURE
        }
    }
}

fn info(path: &Path) -> Outcome {
    let runtime = Runtime::new()?;
    let plan = Plan::new(&runtime, path, &PlanOptions::new())?;
    let info = Model::load(&runtime, path)?.info()?;
    println!("parameters   {}", info.parameters);
    println!("layers       {}", info.layers);
    println!("vocabulary   {}", info.vocabulary_size);
    println!("context      {} tokens", info.context_tokens);
    println!("weights      {:.1} MiB", plan.host_weight_bytes as f64 / f64::from(1 << 20));
    println!("cache        {:.1} MiB", plan.host_cache_bytes as f64 / f64::from(1 << 20));
    println!("working      {:.1} MiB", plan.host_scratch_bytes as f64 / f64::from(1 << 20));
    Ok(())
}

fn tokens(path: &Path, text: &str) -> Outcome {
    let model = Model::load(&Runtime::new()?, path)?;
    for token in model.tokenize(text, TextFlags::PARSE_SPECIAL)? {
        let bytes = model.detokenize(&[token], TextFlags::PARSE_SPECIAL)?;
        println!("{:>7} {:?}", token, String::from_utf8_lossy(&bytes));
    }
    Ok(())
}

#[derive(Default)]
struct Choices {
    generate: GenerateOptions,
    save: Option<PathBuf>,
    restore: Option<PathBuf>,
}

fn choices(words: &[&str]) -> Result<Choices, Box<dyn Error>> {
    let mut all = Choices::default();
    for pair in words.chunks(2) {
        let (name, value) = match pair {
            [name, value] => (*name, *value),
            _ => return Err(format!("{} needs a value", pair[0]).into()),
        };
        let options = std::mem::take(&mut all.generate);
        all.generate = match name {
            "--tokens" => options.max_tokens(value.parse()?),
            "--temperature" => options.temperature(value.parse()?),
            "--top-p" => options.top_p(value.parse()?),
            "--seed" => options.seed(value.parse()?),
            "--stop" => options.stop([value]),
            "--save" => {
                all.save = Some(value.into());
                options
            }
            "--restore" => {
                all.restore = Some(value.into());
                options
            }
            other => return Err(format!("unknown option {}\n{}", other, USAGE).into()),
        };
    }
    Ok(all)
}

fn run(path: &Path, text: &str, chat: bool, words: &[&str]) -> Outcome {
    let choices = choices(words)?;
    let engine = Engine::new(&Model::load(&Runtime::new()?, path)?)?;
    let mut session: Session = match &choices.restore {
        Some(state) => engine.restore(&std::fs::read(state)?)?,
        None => engine.session()?,
    };
    if chat {
        session.append_chat(&Chat::new().user(text))?;
    } else if session.token_count()? == 0 {
        session.append_text(text, TextFlags::ADD_SPECIAL)?;
    } else {
        session.append(text)?;
    }
    let mut answer = session.generate(&choices.generate)?;
    for chunk in &mut answer {
        print!("{}", chunk?.text);
        stdout().flush()?;
    }
    println!();
    if let Some(end) = answer.finished() {
        let seconds = end.decode.as_secs_f64();
        let rate = f64::from(end.generated_tokens.saturating_sub(1)) / seconds.max(1e-9);
        eprintln!("{:?}: {} tokens, {:.1} a second", end.reason, end.generated_tokens, rate);
    }
    drop(answer);
    if let Some(state) = &choices.save {
        std::fs::write(state, session.save()?)?;
    }
    Ok(())
}
