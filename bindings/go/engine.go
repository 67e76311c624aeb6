// Engines: they compute the requests of many sessions together, in batches, over one model.

package tessera

// #include "hub.h"
import "C"

import (
	goruntime "runtime"
	"time"
	"unsafe"
)

// Engine runs requests: threads, a cache and a schedule, and one goroutine that hands events to requests.
type Engine struct {
	ref     ref
	hub     *hub
	runtime *Runtime
}

// withRanks tells a rendezvous how many ranks there are.
func withRanks(settings []setting) []setting {
	ranks := 1
	for _, s := range settings {
		if n, ok := s.value.(int64); ok && (s.key == "engine.tensor_parallel" || s.key == "engine.pipeline") && n > 0 {
			ranks *= int(n)
		}
	}
	for _, s := range settings {
		if c, ok := s.value.(*callback); ok {
			if gather, ok := c.function.(AllGather); ok {
				c.function = &rendezvous{gather, ranks}
			}
		}
	}
	return settings
}

// NewEngine creates an engine. With EngineStepped it computes in Step alone.
func (m *Model) NewEngine(options ...EngineOption) (*Engine, error) {
	p, err := m.ref.enter()
	if err != nil {
		return nil, err
	}
	defer m.ref.leave()
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.setting)
	}
	prepared, callbacks := prepare(settings)
	set, err := newOptions(withRanks(prepared))
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	h, err := newHub(&m.runtime.ref)
	if err != nil {
		return nil, err
	}
	var engine *C.tsr_engine
	var e *C.tsr_error
	if err := check(C.tsr_engine_create((*C.tsr_model)(p), set, &engine, &e), e); err != nil {
		h.stop()
		return nil, because(err, failureOf(callbacks))
	}
	made := &Engine{hub: h, runtime: m.runtime}
	made.ref = ref{what: "engine", pointer: unsafe.Pointer(engine),
		free: func(p unsafe.Pointer) { C.tsr_engine_release((*C.tsr_engine)(p)) }}
	m.runtime.mu.Lock()
	m.runtime.hubs[h] = struct{}{}
	m.runtime.mu.Unlock()
	goruntime.SetFinalizer(made, func(e *Engine) { go e.end() })
	return made, nil
}

// Close ends every request of the engine, which then fail with ErrClosed, joins its threads and frees its cache. When
// it returns, the engine's goroutine is gone. In a callback it is ErrWrongState, and the engine stays open.
func (e *Engine) Close() error {
	p, err := e.ref.enter()
	if err != nil {
		return nil
	}
	defer e.ref.leave()
	var failure *C.tsr_error
	if err := check(C.tsr_engine_close((*C.tsr_engine)(p), &failure), failure); err != nil {
		return err
	}
	goruntime.SetFinalizer(e, nil)
	e.stopHub()
	e.ref.close()
	return nil
}

func (e *Engine) stopHub() {
	e.hub.stop()
	e.runtime.mu.Lock()
	delete(e.runtime.hubs, e.hub)
	e.runtime.mu.Unlock()
}

// Release gives up this reference without closing anything: sessions go on, and the engine ends with the last of them.
// The engine is not used afterwards. Its goroutine ends when the garbage collector finds that nobody can need it.
func (e *Engine) Release() { e.ref.close() }

// end is what is left to do for an engine that nobody can reach, nor its sessions: none of its requests runs.
func (e *Engine) end() {
	if p, err := e.ref.enter(); err == nil {
		C.tsr_engine_close((*C.tsr_engine)(p), nil)
		e.ref.leave()
	}
	e.stopHub()
	e.ref.close()
}

// StepStats says what a step did.
type StepStats struct {
	Elapsed         time.Duration
	PromptTokens    uint64
	GeneratedTokens uint64
	WorkLeft        bool // another step would compute
}

// Step computes for about `budget` on this thread, on an engine with EngineStepped. 0: the least that can be done;
// negative: until one batch is done.
func (e *Engine) Step(budget time.Duration) (StepStats, error) {
	p, err := e.ref.enter()
	if err != nil {
		return StepStats{}, err
	}
	defer e.ref.leave()
	stats := C.tsr_step_stats{struct_size: C.sizeof_tsr_step_stats}
	var failure *C.tsr_error
	err = check(C.tsr_engine_step((*C.tsr_engine)(p), C.int64_t(budget), &stats, &failure), failure)
	if err != nil {
		return StepStats{}, err
	}
	return StepStats{time.Duration(stats.elapsed_ns), uint64(stats.prompt_tokens), uint64(stats.generated_tokens),
		stats.work_left != 0}, nil
}

// Serve is the work of a rank other than 0: it carries out what rank 0 tells until rank 0 closes its engine.
func (e *Engine) Serve() error {
	p, err := e.ref.enter()
	if err != nil {
		return err
	}
	defer e.ref.leave()
	var failure *C.tsr_error
	return check(C.tsr_engine_serve((*C.tsr_engine)(p), &failure), failure)
}

// Metrics are an engine's counters since it was created, and what it holds now.
type Metrics struct {
	Batches, PromptTokens, GeneratedTokens    uint64
	RequestsAccepted, RequestsFinished        uint64
	BatchesFailed, Evictions, Preemptions     uint64
	Compute                                   time.Duration // in regions
	CacheBytes, ScratchBytes                  uint64
	Sessions, RequestsRunning, RequestsQueued int
	Threads                                   int
	BlocksTotal, BlocksFree                   int64
	BlockTokens                               int
	SharedTokens, CopiedBlocks                uint64
	DeviceSteps                               uint64
	Device, DeviceIdle                        time.Duration
	Regions                                   [16]time.Duration // by Region; 0 without EngineTimeRegions
}

// Region is a part of a step: an index of Metrics.Regions.
type Region int

// The regions of a step.
const (
	RegionEmbed      Region = C.TSR_REGION_EMBED
	RegionNormQKV    Region = C.TSR_REGION_NORM_QKV
	RegionAttention  Region = C.TSR_REGION_ATTENTION
	RegionOutput     Region = C.TSR_REGION_OUTPUT
	RegionNormGateUp Region = C.TSR_REGION_NORM_GATE_UP
	RegionDown       Region = C.TSR_REGION_DOWN
	RegionHead       Region = C.TSR_REGION_HEAD
	RegionSample     Region = C.TSR_REGION_SAMPLE
)

// Metrics reads the counters.
func (e *Engine) Metrics() (Metrics, error) {
	p, err := e.ref.enter()
	if err != nil {
		return Metrics{}, err
	}
	defer e.ref.leave()
	m := C.tsr_engine_metrics{struct_size: C.sizeof_tsr_engine_metrics}
	var failure *C.tsr_error
	if err := check(C.tsr_engine_get_metrics((*C.tsr_engine)(p), &m, &failure), failure); err != nil {
		return Metrics{}, err
	}
	out := Metrics{
		Batches: uint64(m.batches), PromptTokens: uint64(m.prompt_tokens), GeneratedTokens: uint64(m.generated_tokens),
		RequestsAccepted: uint64(m.requests_accepted), RequestsFinished: uint64(m.requests_finished),
		BatchesFailed: uint64(m.batches_failed), Evictions: uint64(m.evictions), Preemptions: uint64(m.preemptions),
		Compute: time.Duration(m.compute_ns), CacheBytes: uint64(m.cache_bytes), ScratchBytes: uint64(m.scratch_bytes),
		Sessions: int(m.sessions), RequestsRunning: int(m.requests_running), RequestsQueued: int(m.requests_queued),
		Threads: int(m.threads), BlocksTotal: int64(m.blocks_total), BlocksFree: int64(m.blocks_free),
		BlockTokens: int(m.block_tokens), SharedTokens: uint64(m.shared_tokens), CopiedBlocks: uint64(m.copied_blocks),
		DeviceSteps: uint64(m.device_steps), Device: time.Duration(m.device_ns),
		DeviceIdle: time.Duration(m.device_idle_ns),
	}
	for i := range out.Regions {
		out.Regions[i] = time.Duration(m.region_ns[i])
	}
	return out, nil
}
