//! Answers as iterators, as streams of an executor and as events of a queue are the same answers.

mod common;

use std::time::Duration;

use common::{block_on, engine, stepped_engine, tokens};
use tessera::{
    CancelEffect, Event, FinishReason, GenerateOptions, Queue, QueueOptions, Session, Status, TextFlags,
};

const PROMPT: &str = "hello, the world of";

fn prompted(engine: &tessera::Engine) -> Session {
    let mut session = engine.session().unwrap();
    session.append(PROMPT).unwrap();
    session
}

fn expected(engine: &tessera::Engine, count: i64) -> tessera::Completion {
    prompted(engine).complete(&tokens(count)).unwrap()
}

#[test]
fn an_iterator_gives_the_answer_in_pieces() {
    let engine = engine();
    let whole = expected(&engine, 24);
    let mut session = prompted(&engine);

    let mut stream = session.generate(&tokens(24)).unwrap();
    let pieces: Vec<_> = stream.by_ref().collect::<Result<_, _>>().unwrap();

    assert!(stream.next().is_none(), "it stays at its end");
    assert_eq!(stream.finished().unwrap().reason, FinishReason::Length);
    assert_eq!(stream.finished().unwrap().generated_tokens, 24);
    drop(stream);
    assert!(pieces.len() > 1);
    assert_eq!(pieces.iter().map(|piece| &*piece.text).collect::<String>(), whole.text);
    assert_eq!(pieces.iter().flat_map(|piece| piece.tokens.clone()).collect::<Vec<_>>(), whole.tokens);
    assert_eq!(session.tokens().unwrap()[session.token_count().unwrap() - 24..], whole.tokens[..]);
}

#[test]
fn a_task_gets_the_same_answer_without_a_runtime() {
    let engine = engine();
    let whole = expected(&engine, 24);
    let mut session = prompted(&engine);

    let text = block_on(async {
        let mut stream = session.generate(&tokens(24)).unwrap();
        let mut text = String::new();
        while let Some(piece) = stream.next_chunk().await {
            text.push_str(&piece.unwrap().text);
        }
        assert!(stream.next_chunk().await.is_none());
        text
    });

    assert_eq!(text, whole.text);
}

#[test]
fn an_answer_moves_to_another_thread_and_gives_its_session_back() {
    let engine = engine();
    let whole = expected(&engine, 16);
    let stream = prompted(&engine).into_generate(&tokens(16)).unwrap();

    let (text, mut session) = std::thread::spawn(move || {
        let mut stream = stream;
        let text: String = stream.by_ref().map(|piece| piece.unwrap().text).collect();
        (text, stream.into_session())
    })
    .join()
    .unwrap();

    assert_eq!(text, whole.text);
    session.append(" and").unwrap();
    assert_eq!(session.complete(&tokens(3)).unwrap().tokens.len(), 3);
}

#[test]
fn a_request_that_is_refused_gives_the_session_back() {
    let engine = engine();
    let (error, mut session) =
        prompted(&engine).into_generate(&GenerateOptions::new().top_p(1.5)).unwrap_err();

    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(error.place(), "setting 'sampling.top_p'");
    assert_eq!(session.complete(&tokens(2)).unwrap().tokens.len(), 2);
}

#[test]
fn a_stepped_engine_is_stepped_by_who_waits() {
    let whole = expected(&engine(), 12);
    let engine = stepped_engine();
    let mut session = prompted(&engine);

    let answer = session.complete(&tokens(12)).unwrap();

    assert_eq!(answer.tokens, whole.tokens);
    assert!(engine.is_stepped());
}

#[test]
fn several_threads_wait_for_answers_of_one_stepped_engine() {
    let engine = stepped_engine();
    let whole = expected(&engine, 12);

    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| prompted(&engine).complete(&tokens(12)).unwrap().tokens)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), whole.tokens);
        }
    });
}

#[test]
fn a_task_is_woken_by_what_another_thread_steps() {
    let engine = stepped_engine();
    let mut session = prompted(&engine);
    let mut stepper = engine.stepper().unwrap();
    assert_eq!(engine.stepper().unwrap_err().status(), Status::Busy);
    let stream = session.generate(&tokens(6)).unwrap();

    let answer = std::thread::scope(|scope| {
        scope.spawn(move || while stepper.step(Duration::from_millis(1)).unwrap().work_left {});
        block_on(async {
            let mut stream = stream;
            let mut count = 0;
            while let Some(piece) = stream.next_chunk().await {
                count += piece.unwrap().tokens.len();
            }
            count
        })
    });

    assert_eq!(answer, 6);
    assert!(engine.stepper().is_ok(), "the first one is gone");
}

#[test]
fn dropping_an_answer_cancels_it_and_the_session_goes_on() {
    let engine = stepped_engine();
    let whole = expected(&engine, 40);
    let mut session = prompted(&engine);
    let start = session.token_count().unwrap();

    let mut stream = session.generate(&tokens(40)).unwrap();
    assert_eq!(stream.next().unwrap().unwrap().tokens, whole.tokens[..1]);
    drop(stream);

    let kept = session.token_count().unwrap() - start;
    assert!((1..40).contains(&kept), "{} tokens are left", kept);
    let rest = session.complete(&tokens(40 - kept as i64)).unwrap();
    assert_eq!(rest.tokens, whole.tokens[kept..]);
}

#[test]
fn an_answer_that_was_forgotten_leaves_its_session_busy_until_it_is_cancelled() {
    let engine = stepped_engine();
    let whole = expected(&engine, 4);
    let mut session = prompted(&engine);

    std::mem::forget(session.generate(&tokens(40)).unwrap());

    assert_eq!(session.rewind(0).unwrap_err().status(), Status::Busy);
    session.cancel(CancelEffect::Drop).unwrap();
    assert_eq!(
        session.complete(&tokens(4)).unwrap().tokens,
        whole.tokens,
        "old events are not taken for new"
    );
}

#[test]
fn a_handle_cancels_from_another_thread() {
    let engine = engine();
    let mut session = prompted(&engine);
    let canceller = session.canceller();
    let mut stream = session.generate(&GenerateOptions::new().max_tokens(-1).ignore_end(true)).unwrap();
    stream.next().unwrap().unwrap();

    let other = canceller.clone();
    std::thread::spawn(move || other.cancel(CancelEffect::Drop)).join().unwrap().unwrap();

    assert!(stream.by_ref().all(|piece| piece.is_ok()));
    let reason = stream.finished().unwrap().reason;
    assert!(matches!(reason, FinishReason::Cancelled | FinishReason::Context), "{:?}", reason);
    drop(stream);
    drop(session);
    canceller.cancel(CancelEffect::Keep).expect("a session that is gone has nothing to cancel");
}

#[test]
fn a_deadline_ends_an_answer() {
    let engine = stepped_engine();
    let mut session = prompted(&engine);
    let options = tokens(40).deadline(Duration::from_nanos(1));

    let answer = session.complete(&options).unwrap();

    assert_eq!(answer.finished.reason, FinishReason::Deadline);
    assert_eq!(answer.finished.status, Status::DeadlineExceeded);
}

#[test]
fn log_probabilities_come_with_their_tokens() {
    let engine = engine();
    let mut session = prompted(&engine);

    let answer = session.complete(&tokens(5).top_logprobs(3)).unwrap();

    assert_eq!(answer.logprobs.len(), 5);
    assert_eq!(answer.top.len(), 5);
    for i in 0..5 {
        assert_eq!(answer.top[i].len(), 3);
        assert_eq!(answer.top[i][0].token, answer.tokens[i], "greedy takes the most probable one");
        assert_eq!(answer.top[i][0].logprob, answer.logprobs[i]);
        assert!(answer.top[i][0].logprob >= answer.top[i][1].logprob);
    }
}

#[test]
fn stop_strings_and_tokens_end_an_answer() {
    let engine = engine();
    let whole = expected(&engine, 24);

    let by_token = prompted(&engine).complete(&tokens(24).stop_tokens([whole.tokens[5]])).unwrap();

    let first = whole.tokens.iter().position(|token| *token == whole.tokens[5]).unwrap();
    assert_eq!(by_token.finished.reason, FinishReason::Stop);
    assert_eq!(by_token.finished.generated_tokens as usize, first + 1);
    let stop: String = whole.text.chars().skip(3).take(2).collect();
    let by_text = prompted(&engine).complete(&tokens(24).stop([stop.as_str()])).unwrap();
    assert_eq!(by_text.finished.reason, FinishReason::Stop);
    assert_eq!(by_text.text, whole.text[..whole.text.find(&stop).unwrap()]);
}

#[test]
fn a_queue_tells_the_events_of_many_sessions_apart() {
    let engine = engine();
    let whole = expected(&engine, 8);
    let mut queue = Queue::new(engine.model().runtime()).unwrap();
    let mut sessions: Vec<_> = (0..8).map(|_| prompted(&engine)).collect();
    for (tag, session) in sessions.iter_mut().enumerate() {
        session.submit(&tokens(8), &queue, tag as u64).unwrap();
    }

    let mut answers = vec![(Vec::new(), false); 8];
    while answers.iter().any(|(_, finished)| !finished) {
        for event in queue.poll(None).unwrap() {
            match event {
                Event::Tokens(event) => answers[event.tag as usize].0.extend_from_slice(event.tokens),
                Event::Finished(event) => answers[event.tag as usize].1 = true,
                _ => {}
            }
        }
    }

    assert!(answers.iter().all(|(tokens, _)| *tokens == whole.tokens));
}

#[test]
fn a_poll_that_waits_is_woken() {
    let engine = engine();
    let mut queue = Queue::new(engine.model().runtime()).unwrap();
    let waker = queue.waker();

    let events = std::thread::scope(|scope| {
        scope.spawn(|| waker.wake().unwrap());
        queue.poll(None).unwrap().count()
    });

    assert_eq!(events, 0);
    drop(queue);
    waker.wake().expect("a queue that is gone needs no waking");
}

#[test]
fn a_small_buffer_grows_to_the_first_event() {
    let engine = engine();
    let mut session = engine.session().unwrap();
    session.append_text(PROMPT, TextFlags::ADD_SPECIAL).unwrap();
    let ready = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = ready.clone();
    let options = QueueOptions::new().on_ready(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let mut queue = Queue::with(engine.model().runtime(), &options).unwrap();
    session.submit(&tokens(60).top_logprobs(20), &queue, 3).unwrap();

    let (mut count, mut finished) = (0, false);
    while !finished {
        for event in queue.wait(&engine, Some(Duration::from_secs(60))).unwrap() {
            match event {
                Event::Tokens(event) => {
                    assert!(event.tokens.is_empty() || event.top(0).len() == 20);
                    count += event.tokens.len();
                }
                Event::Finished(event) => finished = event.tag == 3,
                _ => {}
            }
        }
    }

    assert_eq!(count, 60);
    assert!(ready.load(std::sync::atomic::Ordering::Relaxed) > 0);
}

/// poll(2), which std does not have.
fn readable(descriptor: std::os::unix::io::BorrowedFd<'_>, timeout_ms: i32) -> bool {
    use std::os::raw::{c_int, c_short, c_ulong};
    use std::os::unix::io::AsRawFd;
    #[repr(C)]
    struct PollFd {
        descriptor: c_int,
        events: c_short,
        happened: c_short,
    }
    extern "C" {
        fn poll(all: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    }
    let mut one = PollFd { descriptor: descriptor.as_raw_fd(), events: 1, happened: 0 };
    unsafe { poll(&mut one, 1, timeout_ms) == 1 }
}

#[test]
fn a_queues_descriptor_is_readable_while_events_wait() {
    let engine = engine();
    let mut queue = Queue::new(engine.model().runtime()).unwrap();
    assert!(!readable(queue.descriptor().unwrap(), 0));
    let mut session = prompted(&engine);
    session.submit(&tokens(2), &queue, 7).unwrap();

    let mut finished = false;
    while !finished {
        assert!(readable(queue.descriptor().unwrap(), 60_000));
        let mut events = queue.poll(Some(Duration::ZERO)).unwrap();
        finished = events.any(|event| matches!(event, Event::Finished(event) if event.tag == 7));
    }

    assert!(!readable(queue.descriptor().unwrap(), 0));
}
