// The C API as Rust declarations. Written by bindings/rust/generate.py from the ABI description (capi/abi)
// and the header's comments: change those.
use std::os::raw::{c_char, c_int, c_void};

/// What became of a call: one of the TSR_STATUS_ constants. New ones may be added.
pub type tsr_status = i32;

/// Done.
pub const TSR_STATUS_OK: i32 = 0;
/// The host asked to stop.
pub const TSR_STATUS_CANCELLED: i32 = 1;
/// A pointer, size, key or value that cannot be meant.
pub const TSR_STATUS_INVALID_ARGUMENT: i32 = 3;
/// The time given has passed.
pub const TSR_STATUS_DEADLINE_EXCEEDED: i32 = 4;
/// No such file, key or tensor.
pub const TSR_STATUS_NOT_FOUND: i32 = 5;
/// A limit that the host set or the system imposes is reached.
pub const TSR_STATUS_LIMIT_EXCEEDED: i32 = 8;
/// The call is right, but not now: the message says what must come first.
pub const TSR_STATUS_WRONG_STATE: i32 = 9;
/// Valid, but this build cannot do it; the message names what is missing.
pub const TSR_STATUS_UNSUPPORTED: i32 = 12;
/// A defect of the library.
pub const TSR_STATUS_INTERNAL: i32 = 13;
/// Another caller is inside, or a request is running.
pub const TSR_STATUS_BUSY: i32 = 14;
/// A file or saved state that breaks its own format; the message says where.
pub const TSR_STATUS_CORRUPT: i32 = 15;
/// Memory could not be had; nothing was changed.
pub const TSR_STATUS_OUT_OF_MEMORY: i32 = 32;
/// The caller's buffer; the size needed is written.
pub const TSR_STATUS_BUFFER_TOO_SMALL: i32 = 33;
/// Reading failed or fell short.
pub const TSR_STATUS_IO_ERROR: i32 = 34;
/// Text that is not UTF-8; the message gives the byte offset.
pub const TSR_STATUS_INVALID_UTF8: i32 = 35;
/// The engine, queue or runtime was closed.
pub const TSR_STATUS_CLOSED: i32 = 36;
/// The model produced NaN or infinity.
pub const TSR_STATUS_NUMERIC_FAULT: i32 = 37;
/// The device or a rank is gone.
pub const TSR_STATUS_LOST: i32 = 38;
/// This process is a child of fork; the library works in its parent only.
pub const TSR_STATUS_FORKED: i32 = 39;
/// A saved state of another model, tokenizer or cache; the message says which.
pub const TSR_STATUS_MISMATCH: i32 = 40;
/// For those who build the library.
pub const TSR_LOG_DEBUG: i32 = 0;
/// What was done.
pub const TSR_LOG_INFO: i32 = 1;
/// Something to look at.
pub const TSR_LOG_WARNING: i32 = 2;
/// Something failed that no call could report.
pub const TSR_LOG_ERROR: i32 = 3;
/// Weights: one region a model, kept as long as it.
pub const TSR_MEMORY_CLASS_WEIGHTS: i32 = 0;
/// Keys and values: as long as an engine.
pub const TSR_MEMORY_CLASS_CACHE: i32 = 1;
/// Working memory: as long as an engine, or a load.
pub const TSR_MEMORY_CLASS_SCRATCH: i32 = 2;
/// Not touched after the call.
pub const TSR_MEMORY_COPY: i32 = 0;
/// Stays valid and unchanged until the last reference to the model is gone.
pub const TSR_MEMORY_BORROW: i32 = 1;
/// All integer types and booleans.
pub const TSR_METADATA_INT: i32 = 1;
/// Floating-point numbers.
pub const TSR_METADATA_FLOAT: i32 = 2;
/// Bytes as the file has them, usually UTF-8.
pub const TSR_METADATA_STRING: i32 = 3;
/// Text is text: "\<|im_end|\>" is ten characters. For what users typed.
pub const TSR_TEXT_PLAIN: i32 = 0;
/// Special tokens written in the text become those tokens; rendered, they show.
pub const TSR_TEXT_PARSE_SPECIAL: i32 = 1;
/// Begin- and end-of-text tokens are added where the file asks for them.
pub const TSR_TEXT_ADD_SPECIAL: i32 = 2;
/// A `tsr_event_tokens`.
pub const TSR_EVENT_TOKENS: u32 = 1;
/// A `tsr_event_finished`: the last one of its request, exactly one for each.
pub const TSR_EVENT_FINISHED: u32 = 2;
/// The model ended its turn. The end token is part of the session, not of the text.
pub const TSR_FINISH_END: i32 = 1;
/// A stop string or stop token; the text ends before it.
pub const TSR_FINISH_STOP: i32 = 2;
/// "request.max_tokens" were generated.
pub const TSR_FINISH_LENGTH: i32 = 3;
/// The context is full.
pub const TSR_FINISH_CONTEXT: i32 = 4;
/// tsr_session_cancel, or the session was released.
pub const TSR_FINISH_CANCELLED: i32 = 5;
/// "request.deadline_ns" has passed.
pub const TSR_FINISH_DEADLINE: i32 = 6;
/// `status` says what failed.
pub const TSR_FINISH_ERROR: i32 = 7;
/// The engine was closed.
pub const TSR_FINISH_CLOSED: i32 = 8;
/// Tokens to the hidden state.
pub const TSR_REGION_EMBED: i32 = 0;
/// Norm, query, key and value, rotary position, cache append.
pub const TSR_REGION_NORM_QKV: i32 = 1;
/// Attention over the cache.
pub const TSR_REGION_ATTENTION: i32 = 2;
/// Attention's output projection.
pub const TSR_REGION_OUTPUT: i32 = 3;
/// Norm, gate and up projections, activation.
pub const TSR_REGION_NORM_GATE_UP: i32 = 4;
/// Down projection.
pub const TSR_REGION_DOWN: i32 = 5;
/// Final norm and logits.
pub const TSR_REGION_HEAD: i32 = 6;
/// Logits to tokens.
pub const TSR_REGION_SAMPLE: i32 = 7;
/// The tokens generated so far.
pub const TSR_CANCEL_KEEP: i32 = 0;
/// Nothing: the session is as it was before tsr_session_generate.
pub const TSR_CANCEL_DROP: i32 = 1;
/// None: tokens only.
pub const TSR_CACHE_NONE: i32 = -1;
/// "f32".
pub const TSR_CACHE_F32: i32 = 0;
/// "f16".
pub const TSR_CACHE_F16: i32 = 1;
/// "bf16".
pub const TSR_CACHE_BF16: i32 = 2;
/// "int8".
pub const TSR_CACHE_INT8: i32 = 3;
/// Changes when programs must be rebuilt.
pub const TSR_VERSION_MAJOR: i32 = 0;
/// Changes when functions, settings or fields are added.
pub const TSR_VERSION_MINOR: i32 = 1;
/// Changes otherwise.
pub const TSR_VERSION_PATCH: i32 = 0;
/// The bytes that tsr_state_probe needs at the least.
pub const TSR_STATE_HEADER_BYTES: usize = 128;

/// An error: a code, a message for people, and the place it speaks of. Immutable.
#[repr(C)]
pub struct tsr_error {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// A set of settings. One caller at a time; once filled it may be read by several calls at once.
#[repr(C)]
pub struct tsr_options {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// Threads, memory and the log, shared by what is made from it. There is no global state; several may
/// coexist.
#[repr(C)]
pub struct tsr_runtime {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// A loaded model.
#[repr(C)]
pub struct tsr_model {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// A queue of events. It outlives the engines that post to it.
#[repr(C)]
pub struct tsr_queue {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// An engine: threads, a cache and a schedule.
#[repr(C)]
pub struct tsr_engine {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// A session.
#[repr(C)]
pub struct tsr_session {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
}

/// Where the log goes: the setting "runtime.log". Without it nothing is written anywhere.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_log_callbacks {
    /// sizeof(tsr_log_callbacks)
    pub struct_size: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// After the last use; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// One line without its end. Several threads at once. `message` is valid during the call.
    pub write: Option<
        unsafe extern "C" fn(user: *mut c_void, level: i32, message: *const c_char, message_size: usize),
    >,
}

/// Watches a load and may end it: the setting "model.progress".
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_progress_callbacks {
    /// sizeof(tsr_progress_callbacks)
    pub struct_size: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// After the last use; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Called about every 64 MiB and once at the end, one call at a time. Non-zero ends the load with
    /// `TSR_STATUS_CANCELLED`.
    pub progress: Option<unsafe extern "C" fn(user: *mut c_void, done_bytes: u64, total_bytes: u64) -> i32>,
}

/// A host's own way of reading a model's bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_reader {
    /// sizeof(tsr_reader)
    pub struct_size: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// After the last use; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Of the whole file.
    pub size_bytes: u64,
    /// Fills buffer\[0, size) from `offset` on and returns `size`. Anything less is an error, a negative
    /// value the host's own error number. The range lies inside the file. One call at a time, or, on any
    /// thread, as many at once as "model.read_threads" allows.
    pub read_at:
        Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, buffer: *mut c_void, size: usize) -> i64>,
}

/// The host's own memory for a GPU: the settings "device.memory" and "device.pinned_memory".
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_memory_callbacks {
    /// sizeof(tsr_memory_callbacks)
    pub struct_size: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// After the last use; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Takes back what `allocate` gave, with the same class and size. Nothing uses it any more.
    pub allocate:
        Option<unsafe extern "C" fn(user: *mut c_void, memory_class: i32, size: usize) -> *mut c_void>,
    /// See the structure.
    pub free:
        Option<unsafe extern "C" fn(user: *mut c_void, memory_class: i32, data: *mut c_void, size: usize)>,
}

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_model_info {
    /// Set by the caller: sizeof(tsr_model_info).
    pub struct_size: usize,
    /// Weights, a shared table counted once.
    pub parameters: i64,
    /// Memory that its weights take, where it lies.
    pub weight_bytes: u64,
    /// Stored weight bytes that one decoded token must read.
    pub bytes_per_token: u64,
    /// Token ids are 0 to vocabulary_size - 1.
    pub vocabulary_size: i32,
    /// The context it was trained for.
    pub context_tokens: i32,
    /// Decoder layers.
    pub layers: i32,
    /// Width of the residual stream.
    pub hidden_size: i32,
    /// Begin-of-text, -1: none.
    pub bos_token: i32,
    /// The token that ends a turn, -1: none.
    pub end_token: i32,
    /// Of its shape and all its weights, as the file has them; names play no part.
    pub hash: [u8; 16],
    /// Of its tokenizer; chat templates play no part.
    pub tokenizer_hash: [u8; 16],
    /// Where it lies: "cpu", "reference" or a GPU's name. NUL-terminated.
    pub device: [c_char; 128],
    /// The GPU's, as "GPU-..."; "" for others. NUL-terminated.
    pub device_uuid: [c_char; 48],
    /// All memory of that GPU; 0 for others.
    pub device_memory_bytes: u64,
}

/// Tells an event loop that a queue became ready: the setting "queue.on_ready".
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_ready_callbacks {
    /// sizeof(tsr_ready_callbacks)
    pub struct_size: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// After the last use; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// The queue was empty and is not any more, or was woken. Must not block.
    pub on_ready: Option<unsafe extern "C" fn(user: *mut c_void)>,
}

/// The head of every record that tsr_queue_poll writes. Records are aligned to 8 bytes and hold no
/// pointers: offsets count from the record's own first byte. Later versions may append fields: go on by
/// `size`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_event {
    /// Of the whole record, a multiple of 8.
    pub size: u32,
    /// A TSR_EVENT_ constant.
    pub kind: u32,
    /// The host's, from tsr_session_generate.
    pub tag: u64,
}

/// A token and its log-probability.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_token_logprob {
    /// Token id.
    pub token: i32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Generated tokens and text. Text comes in whole code points and may lag behind the tokens.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_event_tokens {
    /// kind is `TSR_EVENT_TOKENS`.
    pub head: tsr_event,
    /// As tsr_session_generate returned it.
    pub request: u64,
    /// May be 0 in the last record, which brings text that was held back.
    pub token_count: u32,
    /// To int32_t ids \[token_count\].
    pub token_offset: u32,
    /// Bytes of UTF-8; 0 while a code point or a possible stop string is incomplete.
    pub text_size: u32,
    /// To the bytes; no NUL.
    pub text_offset: u32,
    /// To float \[token_count\], of the model's own distribution; 0: not asked for.
    pub logprob_offset: u32,
    /// Alternatives per token, from "request.top_logprobs".
    pub top_count: u32,
    /// To tsr_token_logprob \[token_count\]\[top_count\], most probable first; 0: none.
    pub top_offset: u32,
    /// 0.
    pub reserved: u32,
}

/// A request's terminal event.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_event_finished {
    /// kind is `TSR_EVENT_FINISHED`.
    pub head: tsr_event,
    /// As tsr_session_generate returned it.
    pub request: u64,
    /// A TSR_FINISH_ constant.
    pub reason: i32,
    /// `TSR_STATUS_OK` for END, STOP, LENGTH and CONTEXT.
    pub status: tsr_status,
    /// Tokens that were computed before the first new one.
    pub prompt_tokens: u32,
    /// Tokens that were generated and kept in the session, the end token included.
    pub generated_tokens: u32,
    /// The last one generated, -1: none.
    pub last_token: i32,
    /// Bytes of a message for people, UTF-8, when reason is ERROR.
    pub message_size: u32,
    /// To the message; 0: none.
    pub message_offset: u32,
    /// 0.
    pub reserved: u32,
    /// From submission to the first computation.
    pub queued_ns: i64,
    /// From there to the first token.
    pub prompt_ns: i64,
    /// From there to the end.
    pub decode_ns: i64,
}

/// How ranks of different processes find each other: the setting "engine.rendezvous". MPI, Slurm,
/// Kubernetes or a database: whatever started the processes can gather a few kilobytes from each.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_rendezvous_callbacks {
    /// sizeof(tsr_rendezvous_callbacks)
    pub struct_size: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// After the last use; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Collective over all ranks: each brings `size` bytes, everywhere as many, and gets
    /// everybody's, in rank order. Called a few times while an engine is created, on the thread that
    /// creates it,
    /// one call at a time and in the same order on all ranks; never again afterwards. Calls of one (tag,
    /// epoch)
    /// belong together.
    ///
    /// `tag`: a short name, \[tag_size\], of letters, digits and '-'.
    ///
    /// `in`: \[size\] this rank's bytes.
    ///
    /// `out`: \[ranks * size\]
    ///
    /// `timeout_ns`: how long to wait for the others.
    ///
    /// Returns 0, or the host's own error number: creating the engine then fails with `TSR_STATUS_LOST`. A
    /// rank
    /// that does not come must make the others fail when the time is up.
    pub all_gather: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            tag: *const c_char,
            tag_size: usize,
            epoch: u64,
            r#in: *const c_void,
            size: usize,
            out: *mut c_void,
            timeout_ns: i64,
        ) -> i32,
    >,
}

/// What a step did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_step_stats {
    /// Set by the caller: sizeof(tsr_step_stats).
    pub struct_size: usize,
    /// Time spent in the call.
    pub elapsed_ns: i64,
    /// Prompt tokens committed.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// 1: another step would compute. 0: nothing to do until something is submitted or cancelled, the
    /// events
    /// of a request that paused are polled, or a deadline passes.
    pub work_left: i32,
    /// 0.
    pub reserved: i32,
}

/// An engine's counters since it was created, and what it holds now.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_engine_metrics {
    /// Set by the caller: sizeof(tsr_engine_metrics).
    pub struct_size: usize,
    /// Batches committed.
    pub batches: u64,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// By tsr_session_generate.
    pub requests_accepted: u64,
    /// With their terminal event posted.
    pub requests_finished: u64,
    /// Rolled back.
    pub batches_failed: u64,
    /// Idle sessions whose cache was taken; they recompute when they go on.
    pub evictions: u64,
    /// Time in regions.
    pub compute_ns: u64,
    /// Memory of the cache.
    pub cache_bytes: u64,
    /// Working memory, of the GPU where one computes.
    pub scratch_bytes: u64,
    /// Open now.
    pub sessions: i32,
    /// Being computed.
    pub requests_running: i32,
    /// Waiting to begin.
    pub requests_queued: i32,
    /// That compute, the caller's or the engine's own included.
    pub threads: i32,
    /// Cache blocks.
    pub blocks_total: i64,
    /// Of these, not held by any session.
    pub blocks_free: i64,
    /// Tokens in a block.
    pub block_tokens: i32,
    /// 0.
    pub reserved: i32,
    /// Requests that lost their cache to others and computed it again.
    pub preemptions: u64,
    /// Tokens that were not computed because another session had.
    pub shared_tokens: u64,
    /// Shared blocks that were copied before they were written.
    pub copied_blocks: u64,
    /// Steps that a GPU finished; 0 on a CPU, likewise below.
    pub device_steps: u64,
    /// Its time in them.
    pub device_ns: u64,
    /// Its time between steps of which the next was already there.
    pub device_idle_ns: u64,
    /// Its time by TSR_REGION_; 0 without "engine.time_regions".
    pub region_ns: [u64; 16],
}

/// What an engine over a model would take, by tier, and how fast it should run.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_plan {
    /// Set by the caller: sizeof(tsr_plan).
    pub struct_size: usize,
    /// Host memory, the sum of the next four. Sessions and requests add little.
    pub host_bytes: u64,
    /// As tsr_model_info says it of the loaded model.
    pub host_weight_bytes: u64,
    /// As tsr_engine_metrics says it of the engine.
    pub host_cache_bytes: u64,
    /// Likewise.
    pub host_scratch_bytes: u64,
    /// Tokenizer, metadata, lists of blocks and the like, about.
    pub host_object_bytes: u64,
    /// Of the GPU: weights, cache and working memory; the host then has the
    /// pinned part of the working memory alone. 0: on a CPU.
    pub device_bytes: u64,
    /// On disk: 0, this build keeps all in memory.
    pub nvme_bytes: u64,
    /// Tokens that the cache holds, in whole blocks.
    pub cache_tokens: i64,
    /// The largest "engine.cache_tokens" with which the engine stays within
    /// "plan.host_bytes" and "plan.device_bytes", in whole blocks; 0: none
    /// does. Without a budget the most that the setting takes.
    pub fitting_cache_tokens: i64,
    /// The longest session.
    pub context_tokens: i32,
    /// 1: within "plan.host_bytes" and "plan.device_bytes", where there are such budgets.
    pub fits: i32,
    /// Stored weight bytes that decoding one token reads.
    pub weight_bytes_per_token: u64,
    /// Cache bytes for each token of a session, read for each decoded one.
    pub cache_bytes_per_token: u64,
    /// Expected for one session, its context being empty. 0 where "plan.read_bandwidth" is not given and
    /// "plan.probe" is off; likewise below.
    pub decode_tokens_per_second: f64,
    /// The same with a session of context_tokens.
    pub decode_tokens_per_second_full: f64,
    /// Of a prompt of "engine.batch_tokens"; needs "plan.probe", or
    /// "plan.products_per_second" too.
    pub prompt_tokens_per_second: f64,
    /// Bytes a second that this reckons with, given or probed.
    pub read_bandwidth: f64,
    /// Likewise: multiply-adds a second.
    pub products_per_second: f64,
}

/// What a saved state says of itself.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tsr_state_info {
    /// Set by the caller: sizeof(tsr_state_info).
    pub struct_size: usize,
    /// Of the whole state.
    pub size_bytes: u64,
    /// Tokens of the session.
    pub token_count: u64,
    /// Of these, tokens whose keys and values are there.
    pub cached_tokens: u64,
    /// Of the format.
    pub version: i32,
    /// A TSR_CACHE_ constant.
    pub cache_type: i32,
    /// 1: the whole state was given, and every byte of it is sound. 0: its beginning.
    pub complete: i32,
    /// 0.
    pub reserved: i32,
    /// tsr_model_info's `hash` of the model that it belongs to.
    pub model_hash: [u8; 16],
    /// The same of the tokenizer.
    pub tokenizer_hash: [u8; 16],
}

extern "C" {
    /// The version of the library in use, such as "0.1.0": static and NUL-terminated. Any thread;
    /// callback-safe.
    pub fn tsr_version_string() -> *const c_char;
    /// The version in use as major * 1000000 + minor * 1000 + patch. Any thread; callback-safe.
    pub fn tsr_version_number() -> i32;
    /// The ABI of the library in use as JSON: every function with its parameters and thread classes,
    /// constant, structure with its layout, and the version that brought each. Static and NUL-terminated,
    /// ASCII.
    ///
    /// `size`: gets the bytes without the NUL; may be NULL.
    /// Any thread; callback-safe.
    pub fn tsr_abi_describe(size: *mut usize) -> *const c_char;
    /// The constant's name, such as "TSR_STATUS_BUSY", or "unknown status": static. Any thread;
    /// callback-safe.
    pub fn tsr_status_name(status: tsr_status) -> *const c_char;
    /// The error's status; `TSR_STATUS_OK` for NULL. Any thread; callback-safe.
    pub fn tsr_error_code(error: *const tsr_error) -> tsr_status;
    /// The message: what was wrong, where, what was expected. UTF-8 and NUL-terminated, valid until
    /// release.
    ///
    /// `error`: may be NULL, which gives "".
    ///
    /// `size`: gets the bytes without the NUL; may be NULL.
    /// Any thread; callback-safe.
    pub fn tsr_error_message(error: *const tsr_error, size: *mut usize) -> *const c_char;
    /// The place alone (a file, tensor, key, setting or argument), or "". Valid until release.
    ///
    /// `error`: may be NULL, which gives "".
    ///
    /// `size`: gets the bytes without the NUL; may be NULL.
    /// Any thread; callback-safe.
    pub fn tsr_error_place(error: *const tsr_error, size: *mut usize) -> *const c_char;
    /// Releases an error; NULL is fine. Any thread; callback-safe.
    pub fn tsr_error_release(error: *mut tsr_error);
    /// Creates an empty set: every setting at its default. Any thread.
    pub fn tsr_options_create(options: *mut *mut tsr_options, error: *mut *mut tsr_error) -> tsr_status;
    /// Releases a set; NULL is fine. What was created with it keeps its own copy.
    pub fn tsr_options_release(options: *mut tsr_options);
    /// Sets an integer.
    ///
    /// Returns `TSR_STATUS_INVALID_ARGUMENT`, naming the key, when it is unknown, of another type, or
    /// `value` is
    /// outside its range. The same holds for all tsr_options_set functions, and each replaces an earlier
    /// value.
    pub fn tsr_options_set_int(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        value: i64,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a floating-point number.
    pub fn tsr_options_set_float(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        value: f64,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a boolean: 0 is false, anything else true.
    pub fn tsr_options_set_bool(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        value: i32,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a string, UTF-8.
    pub fn tsr_options_set_string(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        value: *const c_char,
        value_size: usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a list of integers, `count` of them.
    pub fn tsr_options_set_int_list(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        values: *const i64,
        count: usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a list of floating-point numbers, `count` of them.
    pub fn tsr_options_set_float_list(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        values: *const f64,
        count: usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a list of strings, UTF-8: `count` pointers and as many sizes.
    pub fn tsr_options_set_string_list(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        values: *const *const c_char,
        value_sizes: *const usize,
        count: usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a pointer to something of the host's, such as its CUcontext for "device.context". It is kept
    /// as it is: what it points to stays the host's, and must live as long as what was created with it.
    pub fn tsr_options_set_pointer(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        value: *mut c_void,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Sets a callback table, such as a `tsr_log_callbacks` for "runtime.log".
    ///
    /// `table`: is copied at once, its `struct_size` bytes; its `drop` is called as the file's head says,
    /// also
    /// when this call fails. NULL is an error.
    pub fn tsr_options_set_callbacks(
        options: *mut tsr_options,
        key: *const c_char,
        key_size: usize,
        table: *const c_void,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Creates a runtime.
    ///
    /// `options`: settings that begin with "runtime."; may be NULL.
    ///
    /// `runtime`: gets the handle; the caller releases it.
    /// Any thread.
    pub fn tsr_runtime_create(
        options: *const tsr_options,
        runtime: *mut *mut tsr_runtime,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Closes every engine and queue made from it, as tsr_engine_close does. Later calls on them answer
    /// `TSR_STATUS_CLOSED`. Models stay usable for reading. A second close does nothing, but waits for the
    /// end of
    /// one that is under way. Any thread; `TSR_STATUS_WRONG_STATE` in a callback.
    pub fn tsr_runtime_close(runtime: *mut tsr_runtime, error: *mut *mut tsr_error) -> tsr_status;
    /// Drops the caller's reference. Any thread; callback-safe.
    pub fn tsr_runtime_release(runtime: *mut tsr_runtime);
    /// Loads a model from a file.
    ///
    /// `runtime`: stays alive as long as the model.
    ///
    /// `path`: as the system takes it, without NUL bytes.
    ///
    /// `path_size`: bytes of `path`.
    ///
    /// `options`: settings that begin with "model." or "device."; may be NULL. "model.device" says where
    /// the
    /// weights go, and the model's engines compute there.
    ///
    /// `model`: gets the handle; the caller releases it.
    ///
    /// Returns `TSR_STATUS_NOT_FOUND`, `TSR_STATUS_IO_ERROR`, `TSR_STATUS_CORRUPT` with the byte offset,
    /// key or
    /// tensor, `TSR_STATUS_UNSUPPORTED` with the name of what is unknown, `TSR_STATUS_OUT_OF_MEMORY`,
    /// `TSR_STATUS_CANCELLED`. Any thread; blocks until the model is loaded. The file is read, not mapped;
    /// it may
    /// change or vanish afterwards.
    pub fn tsr_model_load_file(
        runtime: *mut tsr_runtime,
        path: *const c_char,
        path_size: usize,
        options: *const tsr_options,
        model: *mut *mut tsr_model,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Loads a model from an open descriptor (a regular file), which the caller keeps and may close
    /// afterwards.
    ///
    /// `offset`: where the model begins in the file.
    ///
    /// `size_bytes`: how long it is; 0: to the file's end.
    /// Otherwise as tsr_model_load_file.
    pub fn tsr_model_load_descriptor(
        runtime: *mut tsr_runtime,
        descriptor: c_int,
        offset: u64,
        size_bytes: u64,
        options: *const tsr_options,
        model: *mut *mut tsr_model,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Loads a model from memory.
    ///
    /// `mode`: `TSR_MEMORY_COPY` or `TSR_MEMORY_BORROW`.
    /// Otherwise as tsr_model_load_file.
    pub fn tsr_model_load_memory(
        runtime: *mut tsr_runtime,
        data: *const c_void,
        size_bytes: usize,
        mode: i32,
        options: *const tsr_options,
        model: *mut *mut tsr_model,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Loads a model through the host's own reader. Otherwise as tsr_model_load_file.
    pub fn tsr_model_load_reader(
        runtime: *mut tsr_runtime,
        reader: *const tsr_reader,
        options: *const tsr_options,
        model: *mut *mut tsr_model,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Drops the caller's reference. Any thread; callback-safe.
    pub fn tsr_model_release(model: *mut tsr_model);
    /// Fills `info`.
    pub fn tsr_model_get_info(
        model: *const tsr_model,
        info: *mut tsr_model_info,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// How many metadata entries the file has. 0 for NULL.
    pub fn tsr_model_metadata_count(model: *const tsr_model) -> usize;
    /// The entry's key, in file order; NULL when `index` is out of range. Valid as long as the model.
    ///
    /// `size`: gets the bytes; may be NULL.
    pub fn tsr_model_metadata_key(model: *const tsr_model, index: usize, size: *mut usize) -> *const c_char;
    /// An entry's kind and number of elements (1 for a scalar).
    ///
    /// Returns `TSR_STATUS_NOT_FOUND` when the file has no such key.
    pub fn tsr_model_metadata_kind(
        model: *const tsr_model,
        key: *const c_char,
        key_size: usize,
        kind: *mut i32,
        count: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Element `index` of an entry of kind `TSR_METADATA_INT`.
    pub fn tsr_model_metadata_int(
        model: *const tsr_model,
        key: *const c_char,
        key_size: usize,
        index: usize,
        value: *mut i64,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Element `index` of an entry of kind `TSR_METADATA_FLOAT`.
    pub fn tsr_model_metadata_float(
        model: *const tsr_model,
        key: *const c_char,
        key_size: usize,
        index: usize,
        value: *mut f64,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Element `index` of an entry of kind `TSR_METADATA_STRING`; the bytes are valid as long as the model.
    pub fn tsr_model_metadata_string(
        model: *const tsr_model,
        key: *const c_char,
        key_size: usize,
        index: usize,
        value: *mut *const c_char,
        value_size: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Text to tokens.
    ///
    /// `text`: UTF-8; `TSR_STATUS_INVALID_UTF8` names the first bad byte otherwise.
    ///
    /// `flags`: TSR_TEXT_ constants, or-ed.
    ///
    /// `tokens`: \[capacity\] may be NULL when capacity is 0.
    ///
    /// `count`: gets how many there are, also with `TSR_STATUS_BUFFER_TOO_SMALL`, when nothing is written
    /// to
    /// `tokens`.
    pub fn tsr_model_tokenize(
        model: *const tsr_model,
        text: *const c_char,
        text_size: usize,
        flags: i32,
        tokens: *mut i32,
        capacity: usize,
        count: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Tokens to bytes, exactly: detokenizing what tokenize gave returns the text. Any token list is
    /// allowed, and one that was cut inside a code point gives invalid UTF-8.
    ///
    /// `flags`: `TSR_TEXT_PARSE_SPECIAL` shows special tokens; otherwise they are left out.
    ///
    /// `buffer`: \[capacity\] may be NULL when capacity is 0. No NUL is added.
    ///
    /// `size`: gets the bytes, also with `TSR_STATUS_BUFFER_TOO_SMALL`, when nothing is written to
    /// `buffer`.
    pub fn tsr_model_detokenize(
        model: *const tsr_model,
        tokens: *const i32,
        count: usize,
        flags: i32,
        buffer: *mut c_char,
        capacity: usize,
        size: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Turns a conversation into the text that the model was trained on, by the template in its file: what
    /// transformers' apply_chat_template gives. The template (Jinja2) is run in a sandbox: it reaches
    /// nothing but
    /// what it is given here, and is stopped by limits on steps, memory and output.
    ///
    /// `messages`: JSON, UTF-8: an array of objects such as `{"role": "user", "content": "Hello"}`, in
    /// order.
    /// Which fields there may be, and whether there may be a system message or tool calls, is for the
    /// template to
    /// say. Fields that are null are left out.
    ///
    /// `options`: settings that begin with "chat."; may be NULL.
    ///
    /// `buffer`: \[capacity\] may be NULL when capacity is 0. No NUL is added.
    ///
    /// `size`: gets the bytes, also with `TSR_STATUS_BUFFER_TOO_SMALL`, when nothing is written to
    /// `buffer`.
    ///
    /// Returns `TSR_STATUS_NOT_FOUND` when the model has no such template; `TSR_STATUS_CORRUPT` when it
    /// does not
    /// parse; `TSR_STATUS_INVALID_ARGUMENT` when `messages` are no JSON, or the template refuses them: the
    /// message
    /// gives its line and its reason; `TSR_STATUS_LIMIT_EXCEEDED` when a limit is reached;
    /// `TSR_STATUS_UNSUPPORTED` for a part of Jinja2 that chat templates do not use.
    /// To make tokens of the text, use `TSR_TEXT_PARSE_SPECIAL` without `TSR_TEXT_ADD_SPECIAL`; then
    /// special tokens
    /// that stand in messages count too, which tsr_session_append_chat avoids.
    pub fn tsr_model_apply_chat_template(
        model: *const tsr_model,
        messages: *const c_char,
        messages_size: usize,
        options: *const tsr_options,
        buffer: *mut c_char,
        capacity: usize,
        size: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Creates a queue.
    ///
    /// `options`: settings that begin with "queue."; may be NULL.
    /// Any thread.
    pub fn tsr_queue_create(
        runtime: *mut tsr_runtime,
        options: *const tsr_options,
        queue: *mut *mut tsr_queue,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Writes waiting events into the caller's buffer, whole records only; the others stay queued.
    ///
    /// `timeout_ns`: how long to wait for the first: 0 does not wait, negative waits without end. On a
    /// stepped
    /// engine nobody computes while this waits: use tsr_queue_wait there.
    ///
    /// `buffer`: \[capacity\], aligned to 8 bytes.
    ///
    /// `used`: gets the bytes written, always: 0 after the timeout or a wake-up.
    ///
    /// Returns `TSR_STATUS_OK` also with no event; `TSR_STATUS_BUFFER_TOO_SMALL` when the first record
    /// alone is
    /// larger than the buffer (its size is in `used`, and it stays queued); `TSR_STATUS_CLOSED` once the
    /// runtime
    /// was closed and every event was delivered; `TSR_STATUS_BUSY` when another thread polls. Poller.
    /// Allocates
    /// nothing on success.
    pub fn tsr_queue_poll(
        queue: *mut tsr_queue,
        timeout_ns: i64,
        buffer: *mut c_void,
        capacity: usize,
        used: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// As tsr_queue_poll, for programs without an event loop: when `engine` is stepped, this thread steps
    /// it until an event is ready, and sleeps while there is nothing to compute. With a timeout of 0 it
    /// computes
    /// one region at the most.
    ///
    /// Returns besides: `TSR_STATUS_BUSY` when another thread steps the engine; `TSR_STATUS_CLOSED` once
    /// the engine
    /// was closed and the queue is empty, since nothing of it will come any more. Poller and, for a stepped
    /// engine, stepper.
    pub fn tsr_queue_wait(
        queue: *mut tsr_queue,
        engine: *mut tsr_engine,
        timeout_ns: i64,
        buffer: *mut c_void,
        capacity: usize,
        used: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Makes the poll that waits now, or else the next one, return at once. Any thread; callback-safe.
    pub fn tsr_queue_wake(queue: *mut tsr_queue, error: *mut *mut tsr_error) -> tsr_status;
    /// A descriptor that is readable as long as events wait or a wake-up is pending: for epoll, poll and
    /// select. It belongs to the queue: never read, write or close it; duplicate it where a wrapper wants
    /// to own
    /// one. Any thread.
    pub fn tsr_queue_descriptor(
        queue: *mut tsr_queue,
        descriptor: *mut c_int,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Drops the caller's reference. Requests that still run go on; their events are thrown away. Any
    /// thread; callback-safe.
    pub fn tsr_queue_release(queue: *mut tsr_queue);
    /// Creates an engine. With "engine.stepped" it has no thread of its own and computes in tsr_engine_step
    /// only.
    ///
    /// With "engine.tensor_parallel" and "engine.pipeline" the model is divided over several ranks
    /// (DeepSpeed
    /// Inference, section IV), whose number is their product: on threads of this process, or, with
    /// "engine.rendezvous", each in a process of its own, which creates its engine with the same settings
    /// but for
    /// "engine.rank". Rank 0 leads: sessions and requests are there. The others call tsr_engine_serve.
    /// Results are
    /// the same bits as with one rank. While a stepped engine of several ranks waits for the others, its
    /// step can
    /// exceed the budget; and ranks of other processes wait for it no longer than "engine.rank_timeout_ns"
    /// in the
    /// middle of a batch. docs/ranks.md has the rest.
    ///
    /// `options`: settings that begin with "engine."; may be NULL.
    ///
    /// Returns besides: `TSR_STATUS_LOST` when the ranks could not meet. Any thread; with other processes
    /// it blocks
    /// until all ranks have come, or the time is up.
    pub fn tsr_engine_create(
        model: *mut tsr_model,
        options: *const tsr_options,
        engine: *mut *mut tsr_engine,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Computes for `budget_ns` on the calling thread (and the engine's workers) and returns, commonly
    /// within half a millisecond of the budget's end. What is not done then, be it in the middle of a
    /// layer, goes
    /// on in the next call; results do not depend on where it was left. When there is work, some of it is
    /// done.
    ///
    /// `budget_ns`: 0: the least that can be done, commonly well below a millisecond; negative: until one
    /// batch is done.
    ///
    /// `stats`: may be NULL.
    ///
    /// Returns `TSR_STATUS_WRONG_STATE` on a threaded engine. Stepper.
    pub fn tsr_engine_step(
        engine: *mut tsr_engine,
        budget_ns: i64,
        stats: *mut tsr_step_stats,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// The work of a rank other than 0: carries out what rank 0 tells, on the calling thread and the
    /// engine's workers, until rank 0 closes its engine.
    ///
    /// Returns `TSR_STATUS_OK` then; `TSR_STATUS_LOST` when a rank was lost, was late for
    /// "engine.rank_timeout_ns",
    /// or this engine was closed; `TSR_STATUS_WRONG_STATE` on an engine that has sessions. Stepper.
    pub fn tsr_engine_serve(engine: *mut tsr_engine, error: *mut *mut tsr_error) -> tsr_status;
    /// Fills `metrics`. Any thread; callback-safe.
    pub fn tsr_engine_get_metrics(
        engine: *mut tsr_engine,
        metrics: *mut tsr_engine_metrics,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Ends every request with `TSR_FINISH_CLOSED`, joins the engine's threads, frees its cache. Later
    /// calls
    /// on it and its sessions answer `TSR_STATUS_CLOSED`; counts and metrics can still be read, and a
    /// cancel does
    /// nothing. A second close does nothing. Any thread; `TSR_STATUS_WRONG_STATE` in a callback.
    pub fn tsr_engine_close(engine: *mut tsr_engine, error: *mut *mut tsr_error) -> tsr_status;
    /// Drops the caller's reference; the last one of it and its sessions closes it. In a callback it
    /// waits for nobody: the thread that computes finishes the close. Any thread; callback-safe.
    pub fn tsr_engine_release(engine: *mut tsr_engine);
    /// Plans an engine over a model file: reads its header and none of its weights, and allocates nothing
    /// that stays.
    ///
    /// `options`: settings that begin with "model.", "device.", "engine." or "plan.": those that the load
    /// and
    /// the engine would be given, and what is to be planned; may be NULL.
    ///
    /// `plan`: is filled. Memory is what the library will ask the system for, to the byte but for
    /// host_object_bytes; rates are estimates.
    ///
    /// Returns what tsr_model_load_file and tsr_engine_create would answer to the header and the settings.
    /// Any thread; takes as long as reading the header, and a tenth of a second with "plan.probe".
    pub fn tsr_plan_file(
        runtime: *mut tsr_runtime,
        path: *const c_char,
        path_size: usize,
        options: *const tsr_options,
        plan: *mut tsr_plan,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Plans for an open descriptor, as tsr_model_load_descriptor takes it. Otherwise as tsr_plan_file.
    pub fn tsr_plan_descriptor(
        runtime: *mut tsr_runtime,
        descriptor: c_int,
        offset: u64,
        size_bytes: u64,
        options: *const tsr_options,
        plan: *mut tsr_plan,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Plans for a model in memory, which is not touched after the call. Otherwise as tsr_plan_file.
    pub fn tsr_plan_memory(
        runtime: *mut tsr_runtime,
        data: *const c_void,
        size_bytes: usize,
        options: *const tsr_options,
        plan: *mut tsr_plan,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Plans through the host's own reader, which is dropped before this returns. Otherwise as
    /// tsr_plan_file.
    pub fn tsr_plan_reader(
        runtime: *mut tsr_runtime,
        reader: *const tsr_reader,
        options: *const tsr_options,
        plan: *mut tsr_plan,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Creates an empty session.
    ///
    /// `options`: settings that begin with "session."; may be NULL.
    ///
    /// Returns `TSR_STATUS_LIMIT_EXCEEDED` when "engine.max_sessions" are open.
    /// Any thread.
    pub fn tsr_session_create(
        engine: *mut tsr_engine,
        options: *const tsr_options,
        session: *mut *mut tsr_session,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Appends text; nothing is computed yet. All of it or, with an error, none.
    ///
    /// `flags`: TSR_TEXT_ constants, or-ed.
    ///
    /// Returns `TSR_STATUS_BUSY` while a request of this session runs; `TSR_STATUS_LIMIT_EXCEEDED` when the
    /// context
    /// would be too long; `TSR_STATUS_INVALID_UTF8` with the place of the first bad byte. Session.
    pub fn tsr_session_append_text(
        session: *mut tsr_session,
        text: *const c_char,
        text_size: usize,
        flags: i32,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Appends a conversation through the model's chat template, ready to generate the answer; nothing is
    /// computed yet. All of it or, with an error, none. Special tokens that the template writes become
    /// those
    /// tokens; in messages they stay text unless "chat.parse_special" says otherwise. Nothing is added to
    /// what the
    /// template writes, and where the session already holds tokens, a begin-of-text token at the start is
    /// left
    /// out.
    ///
    /// A template writes whole conversations. To go on after an answer, either rewind the session to 0 and
    /// append
    /// all messages again (what is the same at the beginning is found in the cache), or append the next
    /// turn with
    /// tsr_session_append_text in the model's own form.
    ///
    /// `messages`: as in tsr_model_apply_chat_template, whose errors it has too.
    ///
    /// `options`: settings that begin with "chat."; may be NULL.
    ///
    /// Returns besides: as tsr_session_append_text. Session.
    pub fn tsr_session_append_chat(
        session: *mut tsr_session,
        messages: *const c_char,
        messages_size: usize,
        options: *const tsr_options,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Appends tokens, \[count\]; ids are checked. Otherwise as tsr_session_append_text.
    pub fn tsr_session_append_tokens(
        session: *mut tsr_session,
        tokens: *const i32,
        count: usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Asks the engine to compute what was appended and to generate. Returns at once.
    ///
    /// `options`: settings that begin with "request." or "sampling."; may be NULL.
    ///
    /// `queue`: gets the request's events: any number of `TSR_EVENT_TOKENS`, then exactly one
    /// `TSR_EVENT_FINISHED`. The terminal event's place is reserved here, so it cannot be lost. A request
    /// whose
    /// events are not polled pauses.
    ///
    /// `tag`: comes back in every event.
    ///
    /// `request`: gets an id, unique within the engine; may be NULL.
    ///
    /// Returns `TSR_STATUS_BUSY` while another request of this session runs; `TSR_STATUS_LIMIT_EXCEEDED`
    /// when
    /// "engine.max_requests" wait or run, when the session fills its context or the request could outgrow
    /// the
    /// cache, and when thousands of ended requests of this queue wait to be polled;
    /// `TSR_STATUS_INVALID_ARGUMENT`
    /// for a queue of another runtime; `TSR_STATUS_WRONG_STATE` for an empty session. With
    /// "request.max_tokens"
    /// 0 the appended tokens are computed and nothing is generated. Session.
    pub fn tsr_session_generate(
        session: *mut tsr_session,
        options: *const tsr_options,
        queue: *mut tsr_queue,
        tag: u64,
        request: *mut u64,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// A new session with the same tokens, and the same cache as far as it is computed: blocks are shared,
    /// and copied when one of the two writes there. While a request runs it sees the last batch's end.
    ///
    /// `options`: as in tsr_session_create.
    ///
    /// `fork`: gets the handle; the caller releases it.
    ///
    /// Returns `TSR_STATUS_LIMIT_EXCEEDED` when "engine.max_sessions" are open. Any thread.
    pub fn tsr_session_fork(
        session: *mut tsr_session,
        options: *const tsr_options,
        fork: *mut *mut tsr_session,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Cuts the session to its first `token_count` tokens. What they need of the cache is kept.
    ///
    /// Returns `TSR_STATUS_INVALID_ARGUMENT` when it holds fewer; `TSR_STATUS_BUSY` while a request runs.
    /// Session.
    pub fn tsr_session_rewind(
        session: *mut tsr_session,
        token_count: usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Ends the session's request, whatever it is doing; its terminal event is posted before this returns.
    /// Does nothing when none runs. Cache blocks return when the batch in flight ends, on a stepped engine
    /// with
    /// the next step. Never BUSY. Any thread; callback-safe.
    pub fn tsr_session_cancel(
        session: *mut tsr_session,
        effect: i32,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// How many tokens the session holds, appended and generated. While a request runs: as of the last
    /// batch. Any thread.
    pub fn tsr_session_token_count(
        session: *mut tsr_session,
        count: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Copies tokens \[first, first + capacity) of the session, as far as there are any.
    ///
    /// `count`: gets how many were copied. `TSR_STATUS_BUSY` while a request runs,
    /// `TSR_STATUS_INVALID_ARGUMENT`
    /// when `first` is behind the last. Session.
    pub fn tsr_session_get_tokens(
        session: *mut tsr_session,
        first: usize,
        tokens: *mut i32,
        capacity: usize,
        count: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Copies the logits from which the last request would choose, or chose, its last token: raw, one float
    /// for each token id. The session must have been created with "session.logits".
    ///
    /// `count`: gets the vocabulary's size, also with `TSR_STATUS_BUFFER_TOO_SMALL`.
    ///
    /// Returns `TSR_STATUS_WRONG_STATE` before the first request, and after one that ended before its batch
    /// did
    /// (cancelled, late or failed); `TSR_STATUS_BUSY` while one runs. Session.
    pub fn tsr_session_get_logits(
        session: *mut tsr_session,
        logits: *mut f32,
        capacity: usize,
        count: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Gives the session's cache back to the others; its tokens stay. It goes on as if nothing had been,
    /// but computes again what nobody else has computed meanwhile. To keep what was computed, save it
    /// first.
    ///
    /// Returns `TSR_STATUS_BUSY` while a request runs. Session.
    pub fn tsr_session_park(session: *mut tsr_session, error: *mut *mut tsr_error) -> tsr_status;
    /// Cancels what runs and drops the caller's reference. Any thread; callback-safe.
    pub fn tsr_session_release(session: *mut tsr_session);
    /// Writes the session into the caller's buffer. Other sessions compute meanwhile.
    ///
    /// `options`: settings that begin with "state."; may be NULL.
    ///
    /// `buffer`: \[capacity\] may be NULL when capacity is 0.
    ///
    /// `size`: gets the bytes of the state, also with `TSR_STATUS_BUFFER_TOO_SMALL`, when nothing is
    /// written to
    /// `buffer`. As long as the session is not used, a later call needs as many at the most: an idle
    /// session may
    /// lose its cache to others.
    ///
    /// Returns `TSR_STATUS_BUSY` while a request runs. Session.
    pub fn tsr_session_save(
        session: *mut tsr_session,
        options: *const tsr_options,
        buffer: *mut c_void,
        capacity: usize,
        size: *mut usize,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// A new session from a saved state. Where the cache has no room for its keys and values, even when
    /// idle sessions give theirs up, it computes them again when it goes on.
    ///
    /// `state`: \[state_size\] is not needed after the call.
    ///
    /// `options`: settings that begin with "session." or "state."; may be NULL. Without "state.cache" only
    /// the
    /// tokens are taken, and the cache that it was saved from need not be like the engine's.
    ///
    /// `session`: gets the handle; the caller releases it.
    ///
    /// Returns `TSR_STATUS_CORRUPT` when any byte is not as it was written; `TSR_STATUS_UNSUPPORTED` for
    /// another
    /// version or byte order; `TSR_STATUS_MISMATCH` when model, tokenizer, "engine.activations",
    /// "engine.cache_type" or the cache's layout differ; `TSR_STATUS_LIMIT_EXCEEDED` when its tokens exceed
    /// the
    /// engine's context or "engine.max_sessions" are open. All that is checked before anything changes. Any
    /// thread.
    pub fn tsr_session_restore(
        engine: *mut tsr_engine,
        state: *const c_void,
        state_size: usize,
        options: *const tsr_options,
        session: *mut *mut tsr_session,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
    /// Looks at a saved state without a model.
    ///
    /// `state`: \[state_size\] the whole state, which is checked as tsr_session_restore does, or its first
    /// `TSR_STATE_HEADER_BYTES` or more, of which the header is checked: see `complete`.
    ///
    /// Returns `TSR_STATUS_CORRUPT` or `TSR_STATUS_UNSUPPORTED` as tsr_session_restore. Any thread;
    /// callback-safe.
    pub fn tsr_state_probe(
        state: *const c_void,
        state_size: usize,
        info: *mut tsr_state_info,
        error: *mut *mut tsr_error,
    ) -> tsr_status;
}
