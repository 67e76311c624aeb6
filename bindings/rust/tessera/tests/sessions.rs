//! Models, chats, saved sessions, logits, plans and metrics.

mod common;

use std::os::unix::io::AsFd;

use common::{engine, model, model_path, tokens};
use tessera::{
    CacheType, Chat, ChatOptions, EngineOptions, Metadata, Model, ModelOptions, Plan, PlanOptions, Runtime,
    SessionOptions, Source, StateInfo, StateOptions, Status, TextFlags, STATE_HEADER_BYTES,
};

static KEPT: std::sync::Mutex<&[u8]> = std::sync::Mutex::new(&[]);

const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}\
                        {% if add_generation_prompt %}[assistant]{% endif %}";

#[test]
fn a_model_comes_from_a_path_a_file_or_memory() {
    let runtime = Runtime::new().unwrap();
    let path = model_path();
    let bytes: &'static [u8] = Box::leak(std::fs::read(&path).unwrap().into_boxed_slice());
    // For the sanitizer that looks for leaks.
    *KEPT.lock().unwrap() = bytes;
    let file = std::fs::File::open(&path).unwrap();
    let expected = Model::load(&runtime, &path).unwrap().info().unwrap();
    let sources = vec![
        Source::File { file: file.as_fd(), offset: 0, size_bytes: 0 },
        Source::Bytes(bytes),
        Source::Static(bytes),
        Source::Reader(Box::new(std::fs::File::open(&path).unwrap())),
    ];
    for source in sources {
        let model = Model::load_with(&runtime, source, &ModelOptions::new()).unwrap();
        assert_eq!(model.info().unwrap(), expected);
    }
    assert_eq!(expected.device, "cpu");
}

#[test]
fn metadata_is_read_by_key() {
    let model = model();
    let keys: Vec<_> = model.metadata_keys().map(|key| key.into_owned()).collect();

    assert!(keys.iter().any(|key| key == "general.architecture"));
    for key in &keys {
        let count = match model.metadata(key).unwrap() {
            Metadata::Int(values) => values.len(),
            Metadata::Float(values) => values.len(),
            Metadata::String(values) => values.len(),
            other => panic!("{:?}", other),
        };
        assert!(count > 0, "{}", key);
    }
    assert_eq!(model.metadata("no.such.key").unwrap_err().status(), Status::NotFound);
}

#[test]
fn text_becomes_tokens_and_comes_back() {
    let model = model();
    let text = "hello, the world — of 12\n";

    let tokens = model.tokenize(text, TextFlags::PLAIN).unwrap();

    assert_eq!(model.detokenize(&tokens, TextFlags::PARSE_SPECIAL).unwrap(), text.as_bytes());
    assert!(model.tokenize("", TextFlags::PLAIN).unwrap().is_empty());
}

#[test]
fn a_chat_goes_through_the_template() {
    let engine = engine();
    let options = ChatOptions::new().template(TEMPLATE);
    let chat = Chat::new().system("Be \"brief\".").user("Hi\t{{ 1 }}").assistant("\u{1}yes").user("Go on");

    let text = engine.model().apply_chat_template(&chat, &options).unwrap();

    assert_eq!(
        text,
        "[system]Be \"brief\".\n[user]Hi\t{{ 1 }}\n[assistant]\u{1}yes\n[user]Go on\n[assistant]"
    );
    let mut session = engine.session().unwrap();
    session.append_chat_with(&chat, &options).unwrap();
    let plain = engine.model().tokenize(&text, TextFlags::PLAIN).unwrap();
    assert_eq!(session.tokens().unwrap(), plain);
    let broken = engine.model().apply_chat_template(&Chat::from_json("[{"), &options).unwrap_err();
    assert_eq!(broken.status(), Status::InvalidArgument);
}

#[test]
fn json_of_another_hand_can_be_gone_on_with() {
    let chat = Chat::from_json(" [ ] ").user("a");
    assert_eq!(chat.as_json().replace(' ', ""), r#"[{"role":"user","content":"a"}]"#);
    let chat = Chat::from_json("[{\"role\": \"user\"} ] \n").assistant("b");
    assert_eq!(chat.as_json().replace(' ', ""), r#"[{"role":"user"},{"role":"assistant","content":"b"}]"#);
}

#[test]
fn a_saved_session_goes_on_with_the_same_tokens() {
    let engine = engine();
    let mut session = engine.session().unwrap();
    session.append("hello, the world of").unwrap();
    session.complete(&tokens(6)).unwrap();

    let state = session.save().unwrap();

    let info = StateInfo::probe(&state).unwrap();
    assert!(info.complete);
    assert_eq!(info.size_bytes as usize, state.len());
    assert_eq!(info.token_count as usize, session.token_count().unwrap());
    assert_eq!(info.cache_type, CacheType::F16);
    assert_eq!(info.model_hash, engine.model().info().unwrap().hash);
    assert!(!StateInfo::probe(&state[..STATE_HEADER_BYTES]).unwrap().complete);
    let mut restored = engine.restore(&state).unwrap();
    assert_eq!(restored.tokens().unwrap(), session.tokens().unwrap());
    let expected = session.complete(&tokens(6)).unwrap();
    assert_eq!(restored.complete(&tokens(6)).unwrap().tokens, expected.tokens);

    let small = session.save_with(&StateOptions::new().cache(false)).unwrap();
    assert!(small.len() < state.len());
    let mut damaged = state;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(engine.restore(&damaged).unwrap_err().status(), Status::Corrupt);
}

#[test]
fn forks_rewinds_and_parked_sessions_repeat_the_answer() {
    let engine = engine();
    let mut session = engine.session().unwrap();
    session.append("hello, the world of").unwrap();
    let start = session.token_count().unwrap();
    let mut fork = session.fork().unwrap();
    let expected = session.complete(&tokens(8)).unwrap().tokens;

    assert_eq!(fork.complete(&tokens(8)).unwrap().tokens, expected);
    session.rewind(start).unwrap();
    session.park().unwrap();
    assert_eq!(session.complete(&tokens(8)).unwrap().tokens, expected);
    assert_eq!(session.rewind(10_000).unwrap_err().status(), Status::InvalidArgument);
    session.rewind(0).unwrap();
    session.append_tokens(&[5, 6, 7]).unwrap();
    assert_eq!(session.tokens().unwrap(), [5, 6, 7]);
}

#[test]
fn the_largest_logit_is_the_token_that_greedy_took() {
    let engine = engine();
    let vocabulary = engine.model().info().unwrap().vocabulary_size as usize;
    let mut session = engine.session_with(&SessionOptions::new().logits(true)).unwrap();
    session.append("hello").unwrap();
    assert_eq!(session.logits().unwrap_err().status(), Status::WrongState);
    let answer = session.complete(&tokens(3)).unwrap();

    let logits = session.logits().unwrap();

    assert_eq!(logits.len(), vocabulary);
    let largest = (0..vocabulary).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
    assert_eq!(largest as i32, answer.finished.last_token.unwrap());
    let mut own = vec![0.0; vocabulary];
    assert_eq!(session.logits_into(&mut own).unwrap(), vocabulary);
    assert_eq!(own, logits);
    assert_eq!(session.logits_into(&mut own[1..]).unwrap_err().status(), Status::BufferTooSmall);
}

#[test]
fn metrics_count_what_was_done() {
    let engine = engine();
    let mut session = engine.session().unwrap();
    session.append("hello").unwrap();
    session.complete(&tokens(5)).unwrap();

    let metrics = engine.metrics().unwrap();

    assert_eq!(metrics.generated_tokens, 5);
    assert_eq!((metrics.requests_accepted, metrics.requests_finished), (1, 1));
    assert_eq!(metrics.sessions, 1);
    assert_eq!(metrics.threads, 1);
}

#[test]
fn a_plan_says_what_the_engine_will_take() {
    let runtime = Runtime::new().unwrap();
    let settings = EngineOptions::new().context_tokens(64).threads(1);
    let options = PlanOptions::new().engine(&settings).model(&ModelOptions::new().device("cpu"));
    let path = model_path();
    let bytes = std::fs::read(&path).unwrap();

    let plan = Plan::new(&runtime, &*path, &options).unwrap();

    let model = Model::load(&runtime, &path).unwrap();
    let engine = tessera::Engine::with(&model, &settings).unwrap();
    assert_eq!(plan.host_weight_bytes, model.info().unwrap().weight_bytes);
    assert_eq!(plan.host_cache_bytes, engine.metrics().unwrap().cache_bytes);
    assert!(plan.fits);
    assert_eq!(Plan::new(&runtime, Source::Bytes(&bytes), &options).unwrap(), plan);
    let reader = Source::Reader(Box::new(bytes));
    assert_eq!(Plan::new(&runtime, reader, &options).unwrap(), plan);
}

#[test]
fn the_library_says_its_version_and_its_abi() {
    let version = tessera::version();
    let parts: Vec<i32> = version.split('.').map(|part| part.parse().unwrap()).collect();

    assert_eq!(tessera::version_number(), (parts[0] * 1000 + parts[1]) * 1000 + parts[2]);
    assert!(tessera::abi_description().contains("\"tsr_abi_describe\""));
}

#[test]
fn every_status_has_the_librarys_own_name() {
    for code in 0..64 {
        let name = unsafe { std::ffi::CStr::from_ptr(tessera_sys::tsr_status_name(code)) };
        let name = name.to_str().unwrap();
        if name != "unknown status" {
            assert_eq!(tessera::Status::from(code).name(), name);
        }
        assert_eq!(tessera::Status::from(code).code(), code);
    }
}
