// Records that the library fills, as plain Rust structures. Written by bindings/rust/generate.py from
// the ABI description (capi/abi) and the header's comments: change those.

use tessera_sys as sys;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepStats {
    /// Time spent in the call.
    pub elapsed_ns: i64,
    /// Prompt tokens committed.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// True: another step would compute. False: nothing to do until something is submitted or cancelled,
    /// the events of a request that paused are polled, or a deadline passes.
    pub work_left: bool,
}

impl StepStats {
    pub(crate) fn from_raw(raw: &sys::tsr_step_stats) -> Self {
        Self {
            elapsed_ns: raw.elapsed_ns,
            prompt_tokens: raw.prompt_tokens,
            generated_tokens: raw.generated_tokens,
            work_left: raw.work_left != 0,
        }
    }
}

/// An engine's counters since it was created, and what it holds now.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
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

impl Metrics {
    pub(crate) fn from_raw(raw: &sys::tsr_engine_metrics) -> Self {
        Self {
            batches: raw.batches,
            prompt_tokens: raw.prompt_tokens,
            generated_tokens: raw.generated_tokens,
            requests_accepted: raw.requests_accepted,
            requests_finished: raw.requests_finished,
            batches_failed: raw.batches_failed,
            evictions: raw.evictions,
            compute_ns: raw.compute_ns,
            cache_bytes: raw.cache_bytes,
            scratch_bytes: raw.scratch_bytes,
            sessions: raw.sessions,
            requests_running: raw.requests_running,
            requests_queued: raw.requests_queued,
            threads: raw.threads,
            blocks_total: raw.blocks_total,
            blocks_free: raw.blocks_free,
            block_tokens: raw.block_tokens,
            preemptions: raw.preemptions,
            shared_tokens: raw.shared_tokens,
            copied_blocks: raw.copied_blocks,
            device_steps: raw.device_steps,
            device_ns: raw.device_ns,
            device_idle_ns: raw.device_idle_ns,
            region_ns: raw.region_ns,
        }
    }
}

/// What an engine over a model would take, by tier, and how fast it should run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
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
    /// Of the GPU: weights, cache and working memory; the host then has the pinned part of the working
    /// memory alone. 0: on a CPU.
    pub device_bytes: u64,
    /// On disk: 0, this build keeps all in memory.
    pub nvme_bytes: u64,
    /// Tokens that the cache holds, in whole blocks.
    pub cache_tokens: i64,
    /// The largest "engine.cache_tokens" with which the engine stays within "plan.host_bytes" and
    /// "plan.device_bytes", in whole blocks; 0: none does. Without a budget the most that the setting
    /// takes.
    pub fitting_cache_tokens: i64,
    /// The longest session.
    pub context_tokens: i32,
    /// True: within "plan.host_bytes" and "plan.device_bytes", where there are such budgets.
    pub fits: bool,
    /// Stored weight bytes that decoding one token reads.
    pub weight_bytes_per_token: u64,
    /// Cache bytes for each token of a session, read for each decoded one.
    pub cache_bytes_per_token: u64,
    /// Expected for one session, its context being empty. 0 where "plan.read_bandwidth" is not given and
    /// "plan.probe" is off; likewise below.
    pub decode_tokens_per_second: f64,
    /// The same with a session of context_tokens.
    pub decode_tokens_per_second_full: f64,
    /// Of a prompt of "engine.batch_tokens"; needs "plan.probe", or "plan.products_per_second" too.
    pub prompt_tokens_per_second: f64,
    /// Bytes a second that this reckons with, given or probed.
    pub read_bandwidth: f64,
    /// Likewise: multiply-adds a second.
    pub products_per_second: f64,
}

impl Plan {
    pub(crate) fn from_raw(raw: &sys::tsr_plan) -> Self {
        Self {
            host_bytes: raw.host_bytes,
            host_weight_bytes: raw.host_weight_bytes,
            host_cache_bytes: raw.host_cache_bytes,
            host_scratch_bytes: raw.host_scratch_bytes,
            host_object_bytes: raw.host_object_bytes,
            device_bytes: raw.device_bytes,
            nvme_bytes: raw.nvme_bytes,
            cache_tokens: raw.cache_tokens,
            fitting_cache_tokens: raw.fitting_cache_tokens,
            context_tokens: raw.context_tokens,
            fits: raw.fits != 0,
            weight_bytes_per_token: raw.weight_bytes_per_token,
            cache_bytes_per_token: raw.cache_bytes_per_token,
            decode_tokens_per_second: raw.decode_tokens_per_second,
            decode_tokens_per_second_full: raw.decode_tokens_per_second_full,
            prompt_tokens_per_second: raw.prompt_tokens_per_second,
            read_bandwidth: raw.read_bandwidth,
            products_per_second: raw.products_per_second,
        }
    }
}
