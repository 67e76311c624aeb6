//! A chat in the terminal: `chat MODEL.gguf`. An empty line ends it.

use std::io::{stdin, stdout, BufRead, Write};

use tessera::{Chat, Engine, FinishReason, GenerateOptions, Model, Runtime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: chat MODEL.gguf")?;
    let runtime = Runtime::new()?;
    let model = Model::load(&runtime, path)?;
    let engine = Engine::new(&model)?;
    let mut session = engine.session()?;
    let mut chat = Chat::new();
    let options = GenerateOptions::new().max_tokens(512);

    print!("> ");
    stdout().flush()?;
    for line in stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        chat = chat.user(&line);
        // The whole conversation again: what is the same at the beginning is found in the cache.
        session.rewind(0)?;
        session.append_chat(&chat)?;
        let mut answer = String::new();
        let mut tokens = session.generate(&options)?;
        for chunk in &mut tokens {
            let text = chunk?.text;
            print!("{}", text);
            stdout().flush()?;
            answer.push_str(&text);
        }
        if tokens.finished().map_or(false, |end| end.reason == FinishReason::Context) {
            println!("\n(the context is full)");
            break;
        }
        chat = chat.assistant(&answer);
        print!("\n> ");
        stdout().flush()?;
    }
    println!();
    Ok(())
}
