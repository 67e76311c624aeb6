//! Handles may be dropped in any order, closed twice and used after a close; nothing stays behind.

mod common;

use common::{engine, model, open_descriptors, process_figure, stepped_engine, tokens};
use tessera::{Engine, EngineOptions, FinishReason, Queue, Runtime, Status};

/// Every order of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = orders(count - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    (0..count).flat_map(|at| shorter.iter().map(move |order| insert(order, at))).collect()
}

#[test]
fn handles_are_dropped_in_any_order_while_a_request_runs() {
    let model = model();
    let all = orders(4);
    assert_eq!(all.len(), 24);
    for order in all {
        let options = EngineOptions::new().threads(1).context_tokens(64).stepped(order[0] % 2 == 0);
        let engine = Engine::with(&model, &options).unwrap();
        let queue = Queue::new(model.runtime()).unwrap();
        let mut session = engine.session().unwrap();
        session.append("hello").unwrap();
        session.submit(&tokens(30), &queue, 0).unwrap();
        let fork = session.fork().unwrap();

        let mut things: Vec<Option<Box<dyn Send>>> = vec![
            Some(Box::new(engine)),
            Some(Box::new(queue)),
            Some(Box::new(session)),
            Some(Box::new(fork)),
        ];
        for index in order {
            things[index] = None;
        }
    }
}

#[test]
fn a_session_keeps_its_engine_model_and_runtime() {
    let mut session = {
        let engine = engine();
        engine.session().unwrap()
    };

    session.append("hello").unwrap();

    assert_eq!(session.complete(&tokens(3)).unwrap().tokens.len(), 3);
}

#[test]
fn a_closed_engine_ends_requests_and_refuses_more() {
    let engine = stepped_engine();
    let mut session = engine.session().unwrap();
    session.append("hello").unwrap();
    let mut stream = session.generate(&tokens(30)).unwrap();
    stream.next().unwrap().unwrap();

    engine.close().unwrap();
    engine.close().unwrap();

    assert!(stream.by_ref().all(|piece| piece.is_ok()));
    assert_eq!(stream.finished().unwrap().reason, FinishReason::Closed);
    drop(stream);
    assert_eq!(session.append("more").unwrap_err().status(), Status::Closed);
    assert_eq!(engine.session().unwrap_err().status(), Status::Closed);
    assert!(session.token_count().unwrap() > 0);
    assert!(engine.metrics().unwrap().generated_tokens > 0);
}

#[test]
fn a_closed_runtime_closes_engines_and_queues_but_models_stay() {
    let engine = engine();
    let runtime = engine.model().runtime().clone();
    let mut queue = Queue::new(&runtime).unwrap();
    let mut session = engine.session().unwrap();
    session.append("hello").unwrap();

    runtime.close().unwrap();
    runtime.close().unwrap();

    assert_eq!(session.complete(&tokens(1)).unwrap_err().status(), Status::Closed);
    assert_eq!(queue.poll(None).map(Iterator::count).unwrap_err().status(), Status::Closed);
    assert!(engine.model().info().unwrap().layers > 0);
}

#[test]
fn errors_say_status_place_and_message() {
    let error = tessera::Model::load(&Runtime::new().unwrap(), "/no/such/model.gguf").unwrap_err();

    assert_eq!(error.status(), Status::NotFound);
    assert_eq!(error.status().name(), "TSR_STATUS_NOT_FOUND");
    assert!(error.place().contains("/no/such/model.gguf"));
    let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
    assert!(boxed.to_string().contains("/no/such/model.gguf"));
}

/// One test, since others' threads would count: run by ctest in a process of its own.
#[test]
#[ignore = "counts the process's threads and memory; ctest runs it alone"]
fn a_thousand_cycles_leave_memory_threads_and_descriptors_as_they_were() {
    let model = model();
    let cycle = || {
        let engine = Engine::with(&model, &EngineOptions::new().threads(2).context_tokens(64)).unwrap();
        let mut session = engine.session().unwrap();
        session.append("hello").unwrap();
        assert_eq!(session.complete(&tokens(4)).unwrap().tokens.len(), 4);
        engine.close().unwrap();
    };
    let figures = || (process_figure("VmRSS"), process_figure("Threads"), open_descriptors());
    (0..100).for_each(|_| cycle());
    let (memory, threads, descriptors) = figures();

    (0..1000).for_each(|_| cycle());

    let (memory_after, threads_after, descriptors_after) = figures();
    println!("memory {} -> {} KiB, threads {} -> {}", memory, memory_after, threads, threads_after);
    assert_eq!(threads_after, threads);
    assert_eq!(descriptors_after, descriptors);
    assert!(memory_after < memory + 2048, "memory grew from {} to {} KiB", memory, memory_after);
}
