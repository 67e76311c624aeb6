//! What callbacks may do to the library and to the process: cancel, drop, close, fork, exit.

mod common;

use std::os::raw::c_int;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{engine, model_path, tokens};
use tessera::{
    CancelEffect, Engine, Event, FinishReason, Model, ModelOptions, Queue, QueueOptions, Runtime,
    RuntimeOptions, Session, Status,
};

extern "C" {
    fn fork() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// Submits an endless request whose queue calls `inside` on the engine's thread, and waits for its end.
fn run(
    engine: &Engine,
    session: &Arc<Mutex<Option<Session>>>,
    inside: impl Fn() + Send + Sync + 'static,
) -> FinishReason {
    let options = QueueOptions::new().on_ready(inside);
    let mut queue = Queue::with(engine.model().runtime(), &options).unwrap();
    {
        let mut slot = session.lock().unwrap();
        let session = slot.insert(engine.session().unwrap());
        session.append("hello, the world of").unwrap();
        session.submit(&tokens(-1), &queue, 0).unwrap();
    }
    loop {
        for event in queue.poll(Some(Duration::from_secs(60))).unwrap() {
            if let Event::Finished(event) = event {
                return event.finished.reason;
            }
        }
    }
}

#[test]
fn a_callback_may_cancel() {
    let engine = engine();
    let session = Arc::new(Mutex::new(None::<Session>));
    let inner = session.clone();

    let reason = run(&engine, &session, move || {
        let canceller = inner.lock().unwrap().as_ref().unwrap().canceller();
        canceller.cancel(CancelEffect::Keep).unwrap();
    });

    assert_eq!(reason, FinishReason::Cancelled);
}

#[test]
fn a_callback_may_drop_the_session_that_it_serves() {
    let engine = engine();
    let session = Arc::new(Mutex::new(None::<Session>));
    let inner = session.clone();

    let reason = run(&engine, &session, move || {
        // Not under the lock: what ends the request calls this again, on this thread.
        let session = inner.lock().unwrap().take();
        drop(session);
    });

    assert_eq!(reason, FinishReason::Cancelled);
    assert!(session.lock().unwrap().is_none());
}

#[test]
fn a_callback_that_closes_is_refused() {
    let engine = engine();
    let session = Arc::new(Mutex::new(None::<Session>));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, answers) = (engine.clone(), seen.clone());

    run(&engine, &session, move || {
        let answer = inner.close().and_then(|()| inner.model().runtime().close());
        answers.lock().unwrap().push(answer.unwrap_err().status());
    });

    assert!(seen.lock().unwrap().iter().all(|status| *status == Status::WrongState));
    assert!(!seen.lock().unwrap().is_empty());
    engine.close().unwrap();
}

#[test]
fn a_child_of_fork_in_a_callback_is_refused_and_the_parent_goes_on() {
    let engine = engine();
    let session = Arc::new(Mutex::new(None::<Session>));
    let codes = Arc::new(Mutex::new(Vec::new()));
    let (inner, seen) = (engine.clone(), codes.clone());

    let reason = run(&engine, &session, move || {
        if !seen.lock().unwrap().is_empty() {
            return;
        }
        // SAFETY: the child calls the library, which refuses without waiting, and leaves by _exit.
        unsafe {
            let child = fork();
            if child == 0 {
                let refused = matches!(inner.session(), Err(error) if error.status() == Status::Forked);
                _exit(if refused { 0 } else { 1 });
            }
            let mut status = -1;
            waitpid(child, &mut status, 0);
            seen.lock().unwrap().push(status);
        }
    });

    assert_eq!(reason, FinishReason::Context);
    assert_eq!(*codes.lock().unwrap(), [0]);
}

#[test]
fn a_process_may_exit_inside_a_callback() {
    let me = std::env::current_exe().unwrap();
    let child = Command::new(me)
        .args(["--exact", "the_child_that_exits_inside_a_callback", "--ignored"])
        .output()
        .unwrap();

    assert_eq!(child.status.code(), Some(7), "{}", String::from_utf8_lossy(&child.stderr));
}

#[test]
#[ignore = "ends the process; a_process_may_exit_inside_a_callback starts it"]
fn the_child_that_exits_inside_a_callback() {
    let options = RuntimeOptions::new().log_level("info").log(|_, _| std::process::exit(7));
    let runtime = Runtime::with(&options).unwrap();
    // The log says which device "auto" took.
    let _ = Model::load_with(&runtime, &*model_path(), &ModelOptions::new().device("auto"));
    unreachable!("the log is written");
}
