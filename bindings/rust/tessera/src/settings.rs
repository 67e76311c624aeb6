// Settings as builders. Written by bindings/rust/generate.py from docs/settings.md, which is made from the
// library's schema: change that.

use crate::options::{Options, Value};

/// Settings of [`Runtime::with`](crate::Runtime::with).
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions(pub(crate) Options);

impl RuntimeOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// The least level that is logged. (`runtime.log_level`; range: debug, info, warning, error, default:
    /// warning)
    #[must_use]
    pub fn log_level(self, value: impl Into<String>) -> Self {
        self.set("runtime.log_level", value.into())
    }

    /// Most threads that compute in one engine. 0: as many as the process may use at once (affinity, cgroup
    /// quota). (`runtime.threads`; range: 0 to 1024, default: 0)
    #[must_use]
    pub fn threads(self, value: i64) -> Self {
        self.set("runtime.threads", value)
    }
}

/// Settings of [`Model::load_with`](crate::Model::load_with).
#[derive(Clone, Debug, Default)]
pub struct ModelOptions(pub(crate) Options);

impl ModelOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// Where the model lies and its engines compute: `cpu`; a GPU, the first usable one (`cuda`), by its
    /// number or by its UUID as nvidia-smi prints it; `auto`: a usable GPU, else the CPU, and the log says
    /// which (level info); or `reference`, plain loops in single precision to compare with. Where the GPU
    /// that is named cannot be had, the load fails with `TSR_STATUS_UNSUPPORTED` and the reason.
    /// (`model.device`; range: cpu, reference, auto, cuda, cuda:N, GPU-UUID, default: cpu)
    #[must_use]
    pub fn device(self, value: impl Into<String>) -> Self {
        self.set("model.device", value.into())
    }

    /// Threads that read and lay out weights at once. 0: one for the CPU, up to 8 for a GPU.
    /// (`model.load_threads`; range: 0 to 1024, default: 0)
    #[must_use]
    pub fn load_threads(self, value: i64) -> Self {
        self.set("model.load_threads", value)
    }

    /// Loads the part that one rank needs of so many stages: see `model.rank`. (`model.pipeline`; range: 1
    /// to 64, default: 1)
    #[must_use]
    pub fn pipeline(self, value: i64) -> Self {
        self.set("model.pipeline", value)
    }

    /// Which rank's part to load where `model.tensor_parallel` or `model.pipeline` is above 1: for an
    /// engine with the same settings and `engine.rendezvous`. Engines whose ranks are threads need the
    /// whole model. (`model.rank`; range: 0 to 511, default: 0)
    #[must_use]
    pub fn rank(self, value: i64) -> Self {
        self.set("model.rank", value)
    }

    /// `tsr_model_load_reader`: most calls of `read_at` at once. The reader must allow as many.
    /// (`model.read_threads`; range: 1 to 1024, default: 1)
    #[must_use]
    pub fn read_threads(self, value: i64) -> Self {
        self.set("model.read_threads", value)
    }

    /// Loads the part that one rank needs of so many: see `model.rank`. (`model.tensor_parallel`; range: 1
    /// to 8, default: 1)
    #[must_use]
    pub fn tensor_parallel(self, value: i64) -> Self {
        self.set("model.tensor_parallel", value)
    }

    /// The host's CUDA context, which stays its own and outlives the model. Without it the GPU's primary
    /// one, which the CUDA runtime uses too. (`device.context`; range: CUcontext, default: none)
    ///
    /// # Safety
    /// What it points to must be what the setting asks for, and outlive all that is made with these
    /// options.
    #[must_use]
    pub unsafe fn context(self, value: *mut std::os::raw::c_void) -> Self {
        self.set("device.context", crate::options::Pointer::new(value))
    }

    /// Compute on streams of the lowest priority, behind what the host renders. (`device.low_priority`;
    /// default: false)
    #[must_use]
    pub fn low_priority(self, value: bool) -> Self {
        self.set("device.low_priority", value)
    }

    /// The host's stream, of `device.context`, on which all work is put. Without it streams of the
    /// library's own. (`device.stream`; range: CUstream, default: none)
    ///
    /// # Safety
    /// What it points to must be what the setting asks for, and outlive all that is made with these
    /// options.
    #[must_use]
    pub unsafe fn stream(self, value: *mut std::os::raw::c_void) -> Self {
        self.set("device.stream", crate::options::Pointer::new(value))
    }
}

/// Settings of chat templates.
#[derive(Clone, Debug, Default)]
pub struct ChatOptions(pub(crate) Options);

impl ChatOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// End with the beginning of the model's answer, for the template to write.
    /// (`chat.add_generation_prompt`; default: true)
    #[must_use]
    pub fn add_generation_prompt(self, value: bool) -> Self {
        self.set("chat.add_generation_prompt", value)
    }

    /// The time that templates which write the date are told: seconds since 1970-01-01 00:00 on the local
    /// clock. -1: now, in the process's time zone. (`chat.local_time`; range: -1 and up, default: -1)
    #[must_use]
    pub fn local_time(self, value: i64) -> Self {
        self.set("chat.local_time", value)
    }

    /// Most memory that rendering a template may take; then the call fails. (`chat.max_memory_bytes`;
    /// range: 65536 and up, default: 268435456)
    #[must_use]
    pub fn max_memory_bytes(self, value: i64) -> Self {
        self.set("chat.max_memory_bytes", value)
    }

    /// The longest text that a template may give. (`chat.max_output_bytes`; range: 1 and up, default:
    /// 67108864)
    #[must_use]
    pub fn max_output_bytes(self, value: i64) -> Self {
        self.set("chat.max_output_bytes", value)
    }

    /// Most steps that a template may take: about a second's. (`chat.max_steps`; range: 1 and up, default:
    /// 10000000)
    #[must_use]
    pub fn max_steps(self, value: i64) -> Self {
        self.set("chat.max_steps", value)
    }

    /// `tsr_session_append_chat`: special tokens that are written in messages become those tokens. Without
    /// it only those of the template do, so that nobody can end a turn by writing `<|im_end|>`.
    /// (`chat.parse_special`; default: false)
    #[must_use]
    pub fn parse_special(self, value: bool) -> Self {
        self.set("chat.parse_special", value)
    }

    /// A Jinja2 template to use instead of the model's. (`chat.template`; default: the model's)
    #[must_use]
    pub fn template(self, value: impl Into<String>) -> Self {
        self.set("chat.template", value.into())
    }

    /// Which of the model's templates: NAME for `tokenizer.chat_template.NAME`, `default` for the main one.
    /// Without it: `tool_use` when there are tools and the model has it, else the main one.
    /// (`chat.template_name`; default: by rule)
    #[must_use]
    pub fn template_name(self, value: impl Into<String>) -> Self {
        self.set("chat.template_name", value.into())
    }

    /// The tools that the model may call: a JSON array, in the form that the template expects (commonly
    /// OpenAI's). (`chat.tools`; default: none)
    #[must_use]
    pub fn tools(self, value: impl Into<String>) -> Self {
        self.set("chat.tools", value.into())
    }

    /// Further variables for the template: a JSON object, such as `{"enable_thinking": false}`.
    /// (`chat.variables`; default: none)
    #[must_use]
    pub fn variables(self, value: impl Into<String>) -> Self {
        self.set("chat.variables", value.into())
    }
}

/// Settings of [`Engine::with`](crate::Engine::with).
#[derive(Clone, Debug, Default)]
pub struct EngineOptions(pub(crate) Options);

impl EngineOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// How activations meet quantised weights on a CPU: as 8-bit groups of 32 (fast), or in single
    /// precision. (`engine.activations`; range: int8, f32, default: int8)
    #[must_use]
    pub fn activations(self, value: impl Into<String>) -> Self {
        self.set("engine.activations", value.into())
    }

    /// On a GPU: a session's results do not depend on which others are computed beside it, at a small cost.
    /// On a CPU they never do. (`engine.batch_invariant`; default: false)
    #[must_use]
    pub fn batch_invariant(self, value: bool) -> Self {
        self.set("engine.batch_invariant", value)
    }

    /// Most sessions in one batch. (`engine.batch_sequences`; range: 1 to 4096, default: 64)
    #[must_use]
    pub fn batch_sequences(self, value: i64) -> Self {
        self.set("engine.batch_sequences", value)
    }

    /// Most tokens in one batch; longer prompts are computed in chunks. Working memory grows with it.
    /// (`engine.batch_tokens`; range: 1 to 65536, default: 256)
    #[must_use]
    pub fn batch_tokens(self, value: i64) -> Self {
        self.set("engine.batch_tokens", value)
    }

    /// Tokens that the cache holds for all sessions together. 0: one session's context.
    /// (`engine.cache_tokens`; range: 0 and up, default: 0)
    #[must_use]
    pub fn cache_tokens(self, value: i64) -> Self {
        self.set("engine.cache_tokens", value)
    }

    /// The type that keys and values are stored in. `int8`: about half of `f16`'s memory, one scale for
    /// each 32 elements of a token's head. Without it `f16`, but on a GPU `bf16` where the weights are not
    /// F16. `f32` is for the CPU only. (`engine.cache_type`; range: f32, f16, bf16, int8, default: f16; on
    /// a GPU the weights')
    #[must_use]
    pub fn cache_type(self, value: impl Into<String>) -> Self {
        self.set("engine.cache_type", value.into())
    }

    /// The longest session. 0: the context that the model was trained for. (`engine.context_tokens`; range:
    /// 0 and up, default: 0)
    #[must_use]
    pub fn context_tokens(self, value: i64) -> Self {
        self.set("engine.context_tokens", value)
    }

    /// Most requests that wait or run; another is refused. (`engine.max_requests`; range: 1 to 65536,
    /// default: 256)
    #[must_use]
    pub fn max_requests(self, value: i64) -> Self {
        self.set("engine.max_requests", value)
    }

    /// Most requests that are computed by turns; the others wait. 0: as many as `engine.batch_sequences`.
    /// (`engine.max_running`; range: 0 to 65536, default: 0)
    #[must_use]
    pub fn max_running(self, value: i64) -> Self {
        self.set("engine.max_running", value)
    }

    /// Most open sessions. (`engine.max_sessions`; range: 1 to 1048576, default: 1024)
    #[must_use]
    pub fn max_sessions(self, value: i64) -> Self {
        self.set("engine.max_sessions", value)
    }

    /// Stages that the layers are divided into, one after the other; as many batches are in flight.
    /// (`engine.pipeline`; range: 1 to 64, default: 1)
    #[must_use]
    pub fn pipeline(self, value: i64) -> Self {
        self.set("engine.pipeline", value)
    }

    /// All pages of the cache and of the working memory are there when the engine is made, so that no step
    /// waits for the system to find them. Without it memory that is never used is never taken.
    /// (`engine.prefault`; default: as engine.stepped)
    #[must_use]
    pub fn prefault(self, value: bool) -> Self {
        self.set("engine.prefault", value)
    }

    /// Which of the ranks this process is, with `engine.rendezvous`. Stage by stage; 0 leads.
    /// (`engine.rank`; range: 0 to 511, default: 0)
    #[must_use]
    pub fn rank(self, value: i64) -> Self {
        self.set("engine.rank", value)
    }

    /// Where ranks of other processes reach this one: a network interface, or this machine's name or
    /// address there. Empty: the loopback, for ranks on one machine. Connections are neither authenticated
    /// nor encrypted. (`engine.rank_interface`; )
    #[must_use]
    pub fn rank_interface(self, value: impl Into<String>) -> Self {
        self.set("engine.rank_interface", value.into())
    }

    /// A rank that does not come to a step's operation for so long is late, and one that gives no sign of
    /// life for half of it is lost: the engine's requests end with an error. Ranks meet within half of it.
    /// Idle ranks wait without end. (`engine.rank_timeout_ns`; range: 1000000 and up, default: 10000000000)
    #[must_use]
    pub fn rank_timeout(self, value: std::time::Duration) -> Self {
        self.set("engine.rank_timeout_ns", crate::options::nanoseconds(value))
    }

    /// Sessions that begin with the same tokens compute and keep them once. (`engine.share_prefixes`;
    /// default: true)
    #[must_use]
    pub fn share_prefixes(self, value: bool) -> Self {
        self.set("engine.share_prefixes", value)
    }

    /// The engine has no thread of its own and computes in `tsr_engine_step` only. (`engine.stepped`;
    /// default: false)
    #[must_use]
    pub fn stepped(self, value: bool) -> Self {
        self.set("engine.stepped", value)
    }

    /// Ranks that share the heads, feed-forward columns and vocabulary of each layer.
    /// (`engine.tensor_parallel`; range: 1 to 8, default: 1)
    #[must_use]
    pub fn tensor_parallel(self, value: i64) -> Self {
        self.set("engine.tensor_parallel", value)
    }

    /// Threads that compute, the stepping one included, of all ranks in this process together (at least one
    /// each). 0: as many as `runtime.threads` allows. (`engine.threads`; range: 0 to 1024, default: 0)
    #[must_use]
    pub fn threads(self, value: i64) -> Self {
        self.set("engine.threads", value)
    }

    /// On a GPU: metrics say how long each kind of region took. Costs some speed. (`engine.time_regions`;
    /// default: false)
    #[must_use]
    pub fn time_regions(self, value: bool) -> Self {
        self.set("engine.time_regions", value)
    }
}

/// Settings of [`Plan::new`](crate::Plan::new).
#[derive(Clone, Debug, Default)]
pub struct PlanOptions(pub(crate) Options);

impl PlanOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// A budget of a GPU's memory: the plan says how many cache tokens fit in it. 0: none.
    /// (`plan.device_bytes`; range: 0 and up, default: 0)
    #[must_use]
    pub fn device_bytes(self, value: i64) -> Self {
        self.set("plan.device_bytes", value)
    }

    /// A budget of host memory: the plan says how many cache tokens fit in it. 0: none. (`plan.host_bytes`;
    /// range: 0 and up, default: 0)
    #[must_use]
    pub fn host_bytes(self, value: i64) -> Self {
        self.set("plan.host_bytes", value)
    }

    /// Measure this machine's rates for a tenth of a second, where `plan.read_bandwidth` and
    /// `plan.products_per_second` do not say them. Takes the engine's threads, and for that long memory of
    /// twice the last cache. (`plan.probe`; default: false)
    #[must_use]
    pub fn probe(self, value: bool) -> Self {
        self.set("plan.probe", value)
    }

    /// Multiply-adds of 8-bit weights that the engine's threads do in a second together, many rows at a
    /// time. 0: not known. (`plan.products_per_second`; range: 0 and up, default: 0)
    #[must_use]
    pub fn products_per_second(self, value: i64) -> Self {
        self.set("plan.products_per_second", value)
    }

    /// Bytes that the engine's threads read from memory in a second together. 0: not known.
    /// (`plan.read_bandwidth`; range: 0 and up, default: 0)
    #[must_use]
    pub fn read_bandwidth(self, value: i64) -> Self {
        self.set("plan.read_bandwidth", value)
    }
}

/// Settings of sessions that are made, forked or restored.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions(pub(crate) Options);

impl SessionOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// Keep the last logits for `tsr_session_get_logits`; costs 4 bytes for each token of the vocabulary.
    /// (`session.logits`; default: false)
    #[must_use]
    pub fn logits(self, value: bool) -> Self {
        self.set("session.logits", value)
    }
}

/// Settings of saved sessions.
#[derive(Clone, Debug, Default)]
pub struct StateOptions(pub(crate) Options);

impl StateOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// Save, or restore, keys and values beside the tokens. Without them a session computes its tokens
    /// again when it goes on. (`state.cache`; default: true)
    #[must_use]
    pub fn cache(self, value: bool) -> Self {
        self.set("state.cache", value)
    }
}

/// Settings of [`Queue::with`](crate::Queue::with).
#[derive(Clone, Debug, Default)]
pub struct QueueOptions(pub(crate) Options);

impl QueueOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }
}

/// Settings of a request: when it ends and how tokens are chosen.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions(pub(crate) Options);

impl GenerateOptions {
    /// Every setting at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of
    /// the call that takes the options.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// Time from submission after which the request ends with `TSR_FINISH_DEADLINE`. 0: none.
    /// (`request.deadline_ns`; range: 0 and up, default: 0)
    #[must_use]
    pub fn deadline(self, value: std::time::Duration) -> Self {
        self.set("request.deadline_ns", crate::options::nanoseconds(value))
    }

    /// Go on after the model's end tokens. (`request.ignore_end`; default: false)
    #[must_use]
    pub fn ignore_end(self, value: bool) -> Self {
        self.set("request.ignore_end", value)
    }

    /// Most tokens to generate. 0: only compute what was appended. -1: until the context is full.
    /// (`request.max_tokens`; range: -1 and up, default: 256)
    #[must_use]
    pub fn max_tokens(self, value: i64) -> Self {
        self.set("request.max_tokens", value)
    }

    /// Higher goes first. One step is worth a fixed number of batches of waiting, so that nobody starves.
    /// (`request.priority`; range: -100 to 100, default: 0)
    #[must_use]
    pub fn priority(self, value: i64) -> Self {
        self.set("request.priority", value)
    }

    /// Strings that end the text before them: at most 64, of 1 to 1024 bytes each. (`request.stop`; range:
    /// 1 to 1024 bytes each, default: none)
    #[must_use]
    pub fn stop(self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.set("request.stop", values.into_iter().map(Into::into).collect::<Vec<String>>())
    }

    /// Tokens that end the text, beside the model's own. (`request.stop_tokens`; range: 0 and up, default:
    /// none)
    #[must_use]
    pub fn stop_tokens(self, values: impl IntoIterator<Item = impl Into<i64>>) -> Self {
        self.set("request.stop_tokens", values.into_iter().map(Into::into).collect::<Vec<i64>>())
    }

    /// -1: no log-probabilities. Otherwise that of each token, and of so many alternatives.
    /// (`request.top_logprobs`; range: -1 to 20, default: -1)
    #[must_use]
    pub fn top_logprobs(self, value: i64) -> Self {
        self.set("request.top_logprobs", value)
    }

    /// Subtracted from a token's logit for each time it stands in the window.
    /// (`sampling.frequency_penalty`; range: -100 to 100, default: 0)
    #[must_use]
    pub fn frequency_penalty(self, value: f64) -> Self {
        self.set("sampling.frequency_penalty", value)
    }

    /// Tokens whose logits are changed, at most 4096 and each once; goes with `sampling.logit_bias_values`.
    /// (`sampling.logit_bias_tokens`; range: 0 and up, default: none)
    #[must_use]
    pub fn logit_bias_tokens(self, values: impl IntoIterator<Item = impl Into<i64>>) -> Self {
        self.set("sampling.logit_bias_tokens", values.into_iter().map(Into::into).collect::<Vec<i64>>())
    }

    /// What is added to those logits; -infinity forbids a token. (`sampling.logit_bias_values`; range: up
    /// to 1000000000, default: none)
    #[must_use]
    pub fn logit_bias_values(self, values: impl Into<Vec<f64>>) -> Self {
        self.set("sampling.logit_bias_values", values.into())
    }

    /// Tokens less probable than this share of the most probable one are left out. 0: off.
    /// (`sampling.min_p`; range: 0 to 1, default: 0)
    #[must_use]
    pub fn min_p(self, value: f64) -> Self {
        self.set("sampling.min_p", value)
    }

    /// How many of the session's last tokens penalties look at. (`sampling.penalty_window`; range: 0 to
    /// 65536, default: 64)
    #[must_use]
    pub fn penalty_window(self, value: i64) -> Self {
        self.set("sampling.penalty_window", value)
    }

    /// Subtracted from a token's logit once when it stands in the window. (`sampling.presence_penalty`;
    /// range: -100 to 100, default: 0)
    #[must_use]
    pub fn presence_penalty(self, value: f64) -> Self {
        self.set("sampling.presence_penalty", value)
    }

    /// Divides the positive and multiplies the negative logits of tokens in the window. 1: off.
    /// (`sampling.repetition_penalty`; range: 0.01 to 100, default: 1)
    #[must_use]
    pub fn repetition_penalty(self, value: f64) -> Self {
        self.set("sampling.repetition_penalty", value)
    }

    /// With one seed, one session draws the same tokens again. (`sampling.seed`; range: any, default: 0)
    #[must_use]
    pub fn seed(self, value: i64) -> Self {
        self.set("sampling.seed", value)
    }

    /// Divides the logits. 0: always the most probable token (greedy). (`sampling.temperature`; range: 0 to
    /// 100, default: 0)
    #[must_use]
    pub fn temperature(self, value: f64) -> Self {
        self.set("sampling.temperature", value)
    }

    /// Only so many most probable tokens. 0: off. (`sampling.top_k`; range: 0 and up, default: 0)
    #[must_use]
    pub fn top_k(self, value: i64) -> Self {
        self.set("sampling.top_k", value)
    }

    /// The fewest most probable tokens whose probabilities reach this sum. 1: off. (`sampling.top_p`;
    /// range: 0 to 1, default: 1)
    #[must_use]
    pub fn top_p(self, value: f64) -> Self {
        self.set("sampling.top_p", value)
    }
}
