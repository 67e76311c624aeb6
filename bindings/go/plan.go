// Plans: what a model would take and how fast it should run, before it is loaded.

package tessera

// #include "callbacks.h"
import "C"

import (
	"io"
	"os"
	"runtime/cgo"
	"unsafe"
)

// Plan is what an engine over a model would take, by tier, and how fast it should run. Rates are 0 where neither
// PlanReadBandwidth nor PlanProbe is given.
type Plan struct {
	HostBytes, HostWeightBytes, HostCacheBytes, HostScratchBytes, HostObjectBytes uint64

	DeviceBytes           uint64 // of the GPU
	NVMeBytes             uint64 // on disk
	CacheTokens           int64  // that the cache holds
	FittingCacheTokens    int64  // the most within the budgets; 0: none fits
	ContextTokens         int    // the longest session
	Fits                  bool   // within the budgets
	WeightBytesPerToken   uint64 // read for each decoded token
	CacheBytesPerToken    uint64 // read for each decoded token and each token of the session
	ReadBandwidth         float64
	ProductsPerSecond     float64
	PromptTokensPerSecond float64
	DecodeTokensPerSecond float64 // of one session, its context being empty
	// DecodeTokensPerSecondFull is the same with a session of ContextTokens.
	DecodeTokensPerSecondFull float64
}

func (r *Runtime) plan(options []PlanningOption,
	call func(*C.tsr_runtime, *C.tsr_options, *C.tsr_plan, **C.tsr_error) C.tsr_status, extra ...*callback) (Plan, error) {
	p, err := r.ref.enter()
	if err != nil {
		return Plan{}, err
	}
	defer r.ref.leave()
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.planning())
	}
	prepared, callbacks := prepare(settings)
	set, err := newOptions(withRanks(prepared))
	if err != nil {
		return Plan{}, err
	}
	defer C.tsr_options_release(set)
	plan := C.tsr_plan{struct_size: C.sizeof_tsr_plan}
	var e *C.tsr_error
	if err := check(call((*C.tsr_runtime)(p), set, &plan, &e), e); err != nil {
		return Plan{}, because(err, failureOf(append(extra, callbacks...)))
	}
	return Plan{
		HostBytes: uint64(plan.host_bytes), HostWeightBytes: uint64(plan.host_weight_bytes),
		HostCacheBytes: uint64(plan.host_cache_bytes), HostScratchBytes: uint64(plan.host_scratch_bytes),
		HostObjectBytes: uint64(plan.host_object_bytes), DeviceBytes: uint64(plan.device_bytes),
		NVMeBytes: uint64(plan.nvme_bytes), CacheTokens: int64(plan.cache_tokens),
		FittingCacheTokens: int64(plan.fitting_cache_tokens), ContextTokens: int(plan.context_tokens),
		Fits: plan.fits != 0, WeightBytesPerToken: uint64(plan.weight_bytes_per_token),
		CacheBytesPerToken: uint64(plan.cache_bytes_per_token), ReadBandwidth: float64(plan.read_bandwidth),
		ProductsPerSecond:         float64(plan.products_per_second),
		PromptTokensPerSecond:     float64(plan.prompt_tokens_per_second),
		DecodeTokensPerSecond:     float64(plan.decode_tokens_per_second),
		DecodeTokensPerSecondFull: float64(plan.decode_tokens_per_second_full),
	}, nil
}

// PlanFile plans an engine over a model file: it reads the header and none of the weights.
func (r *Runtime) PlanFile(path string, options ...PlanningOption) (Plan, error) {
	return r.plan(options, func(runtime *C.tsr_runtime, set *C.tsr_options, plan *C.tsr_plan,
		e **C.tsr_error) C.tsr_status {
		text, size := bytesOf([]byte(path))
		return C.tsr_plan_file(runtime, text, size, set, plan, e)
	})
}

// PlanOpenFile plans for an open file, as LoadOpenFile takes it.
func (r *Runtime) PlanOpenFile(file *os.File, offset, size uint64, options ...PlanningOption) (Plan, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return Plan{}, &Error{Code: ErrInvalidArgument, Message: "file: it is closed", Place: "file", Cause: err}
	}
	var plan Plan
	var failed error
	err = raw.Control(func(fd uintptr) {
		plan, failed = r.plan(options, func(runtime *C.tsr_runtime, set *C.tsr_options, plan *C.tsr_plan,
			e **C.tsr_error) C.tsr_status {
			return C.tsr_plan_descriptor(runtime, C.int(fd), C.uint64_t(offset), C.uint64_t(size), set, plan, e)
		})
	})
	if err != nil {
		return Plan{}, &Error{Code: ErrIO, Message: "file: it has no descriptor", Place: "file", Cause: err}
	}
	return plan, failed
}

// PlanBytes plans for a model in memory.
func (r *Runtime) PlanBytes(data []byte, options ...PlanningOption) (Plan, error) {
	return r.plan(options, func(runtime *C.tsr_runtime, set *C.tsr_options, plan *C.tsr_plan,
		e **C.tsr_error) C.tsr_status {
		bytes, size := bytesOf(data)
		return C.tsr_plan_memory(runtime, unsafe.Pointer(bytes), size, set, plan, e)
	})
}

// PlanReader plans through the host's own reader.
func (r *Runtime) PlanReader(reader io.ReaderAt, size uint64, options ...PlanningOption) (Plan, error) {
	c := &callback{function: reader}
	return r.plan(options, func(runtime *C.tsr_runtime, set *C.tsr_options, plan *C.tsr_plan,
		e **C.tsr_error) C.tsr_status {
		handle := C.uintptr_t(cgo.NewHandle(c))
		return C.tessera_go_plan_reader(runtime, handle, C.uint64_t(size), set, plan, e)
	}, c)
}
