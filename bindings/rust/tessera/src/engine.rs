//! Engines, and who steps them.

use std::fmt;
use std::mem::{size_of, zeroed};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_sys as sys;

use crate::error::{call, Error, Result, Status};
use crate::handle::EngineHandle;
use crate::model::Model;
use crate::options::nanoseconds;
use crate::records::{Metrics, StepStats};
use crate::session::Session;
use crate::settings::{EngineOptions, SessionOptions, StateOptions};

struct Inner {
    handle: EngineHandle,
    model: Model,
    stepped: bool,
    stepper_is_out: AtomicBool,
}

/// Runs the requests of many sessions together, in batches, over one model. Clones are the same engine; the last
/// one of it and its sessions closes it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

impl Engine {
    /// An engine with threads of its own and every setting at its default.
    pub fn new(model: &Model) -> Result<Self> {
        Self::with(model, &EngineOptions::new())
    }

    /// An engine.
    pub fn with(model: &Model, options: &EngineOptions) -> Result<Self> {
        let built = options.0.build()?;
        let result = EngineHandle::create(|out, error| unsafe {
            sys::tsr_engine_create(model.raw(), built.get(), out, error)
        });
        Ok(Self(Arc::new(Inner {
            handle: built.caught.explain(result)?,
            model: model.clone(),
            stepped: options.0.bool("engine.stepped"),
            stepper_is_out: AtomicBool::new(false),
        })))
    }

    /// The model that it computes.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// Whether it computes only where it is stepped ([`EngineOptions::stepped`]).
    pub fn is_stepped(&self) -> bool {
        self.0.stepped
    }

    /// An empty session.
    pub fn session(&self) -> Result<Session> {
        self.session_with(&SessionOptions::new())
    }

    /// An empty session.
    pub fn session_with(&self, options: &SessionOptions) -> Result<Session> {
        Session::create(self, options)
    }

    /// A session from a saved state, with the keys and values that are in it.
    pub fn restore(&self, state: &[u8]) -> Result<Session> {
        self.restore_with(state, &SessionOptions::new(), &StateOptions::new())
    }

    /// A session from a saved state. [`Status::Corrupt`] when any byte is not as it was written,
    /// [`Status::Mismatch`] when it belongs to another model, tokenizer or cache.
    pub fn restore_with(
        &self,
        state: &[u8],
        session: &SessionOptions,
        options: &StateOptions,
    ) -> Result<Session> {
        Session::restore(self, state, session, options)
    }

    /// The right to step the engine, or to serve as one of its ranks: one at a time, to be moved to any thread.
    /// [`Status::Busy`] while there is another.
    pub fn stepper(&self) -> Result<Stepper> {
        if self.0.stepper_is_out.swap(true, Ordering::AcqRel) {
            return Err(Error::new(Status::Busy, "the engine has a stepper; drop it first"));
        }
        Ok(Stepper { engine: self.clone() })
    }

    /// Its counters since it was created, and what it holds now; also in callbacks.
    pub fn metrics(&self) -> Result<Metrics> {
        // SAFETY: all fields are integers.
        let mut raw: sys::tsr_engine_metrics = unsafe { zeroed() };
        raw.struct_size = size_of::<sys::tsr_engine_metrics>();
        call(|error| unsafe { sys::tsr_engine_get_metrics(self.raw(), &mut raw, error) })?;
        Ok(Metrics::from_raw(&raw))
    }

    /// Ends every request with [`FinishReason::Closed`](crate::FinishReason::Closed), joins the engine's threads
    /// and frees its cache. A second close does nothing.
    pub fn close(&self) -> Result<()> {
        call(|error| unsafe { sys::tsr_engine_close(self.raw(), error) })
    }

    pub(crate) fn raw(&self) -> *mut sys::tsr_engine {
        self.0.handle.get()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("stepped", &self.0.stepped).finish_non_exhaustive()
    }
}

/// Computes for a stepped engine on the thread that calls it, inside a frame's budget for example.
#[derive(Debug)]
pub struct Stepper {
    engine: Engine,
}

impl Stepper {
    /// Computes for `budget` and returns, commonly within half a millisecond of its end; what is not done goes on
    /// in the next call. With a budget of zero the least that can be done.
    pub fn step(&mut self, budget: Duration) -> Result<StepStats> {
        self.step_ns(nanoseconds(budget))
    }

    /// Computes until one batch is done.
    pub fn step_batch(&mut self) -> Result<StepStats> {
        self.step_ns(-1)
    }

    fn step_ns(&mut self, budget_ns: i64) -> Result<StepStats> {
        // SAFETY: all fields are integers.
        let mut raw: sys::tsr_step_stats = unsafe { zeroed() };
        raw.struct_size = size_of::<sys::tsr_step_stats>();
        call(|error| unsafe { sys::tsr_engine_step(self.engine.raw(), budget_ns, &mut raw, error) })?;
        Ok(StepStats::from_raw(&raw))
    }

    /// The work of a rank other than 0: carries out what rank 0 tells until that closes its engine.
    pub fn serve(&mut self) -> Result<()> {
        call(|error| unsafe { sys::tsr_engine_serve(self.engine.raw(), error) })
    }

    /// The engine that it steps.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.engine.0.stepper_is_out.store(false, Ordering::Release);
    }
}

/// The parts of a step whose times a GPU's metrics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Region {
    /// Tokens to the hidden state.
    Embed = sys::TSR_REGION_EMBED as isize,
    /// Norm, query, key and value, rotary position, cache append.
    NormQkv = sys::TSR_REGION_NORM_QKV as isize,
    /// Attention over the cache.
    Attention = sys::TSR_REGION_ATTENTION as isize,
    /// Attention's output projection.
    Output = sys::TSR_REGION_OUTPUT as isize,
    /// Norm, gate and up projections, activation.
    NormGateUp = sys::TSR_REGION_NORM_GATE_UP as isize,
    /// Down projection.
    Down = sys::TSR_REGION_DOWN as isize,
    /// Final norm and logits.
    Head = sys::TSR_REGION_HEAD as isize,
    /// Logits to tokens.
    Sample = sys::TSR_REGION_SAMPLE as isize,
}

impl Metrics {
    /// A GPU's time in one kind of region; zero without [`EngineOptions::time_regions`].
    pub fn region_time(&self, region: Region) -> Duration {
        Duration::from_nanos(self.region_ns[region as usize])
    }
}
