// Package tessera puts transformer inference into Go programs: it loads GGUF models, and engines compute the requests
// of many sessions together, in this process, by libtessera.so.
//
//	runtime, _ := tessera.NewRuntime()
//	model, _ := runtime.LoadFile(ctx, "model.gguf")
//	engine, _ := model.NewEngine()
//	session, _ := engine.NewSession()
//	session.AppendChat([]tessera.Message{{Role: "user", Content: "Hello!"}})
//	request, _ := session.Generate(ctx)
//	err := request.ForEach(func(c tessera.Chunk) bool { fmt.Print(c.Text); return true })
//
// # Threads
//
// Every method may be called from any goroutine, at any time. A session does one thing at a time: a second caller, or
// a change while its request runs, gets ErrBusy. A goroutine that waits for a request holds no thread: one goroutine
// an engine sleeps in Go's network poller until the engine has something to say.
//
// # Lifetimes
//
// Close what you open, in any order, from any goroutine, as often as you like; use after Close is ErrClosed. What is
// forgotten is closed by a finalizer at some time: a net, not a plan, since Go does not see the memory behind it.
//
// # Backpressure
//
// A request whose chunks are not taken pauses after a bounded number of them (RequestWindow) and holds nobody else up.
// Read it to its end, cancel its context, or call its Close.
package tessera

// #include <tessera/tessera.h>
import "C"

import (
	goruntime "runtime"
	"sync"
	"unsafe"
)

// Version is the version of the library in use, such as "0.1.0".
func Version() string { return C.GoString(C.tsr_version_string()) }

// VersionNumber is the version in use as major*1000000 + minor*1000 + patch.
func VersionNumber() int { return int(C.tsr_version_number()) }

// Runtime is what models and engines share: threads, memory and the log. Several may coexist.
type Runtime struct {
	ref       ref
	callbacks []*callback
	mu        sync.Mutex
	hubs      map[*hub]struct{} // of open engines
}

// NewRuntime creates a runtime.
func NewRuntime(options ...RuntimeOption) (*Runtime, error) {
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.setting)
	}
	prepared, callbacks := prepare(settings)
	set, err := newOptions(prepared)
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	var runtime *C.tsr_runtime
	var e *C.tsr_error
	if err := check(C.tsr_runtime_create(set, &runtime, &e), e); err != nil {
		return nil, err
	}
	r := &Runtime{callbacks: callbacks, hubs: map[*hub]struct{}{}}
	r.ref = ref{what: "runtime", pointer: unsafe.Pointer(runtime),
		free: func(p unsafe.Pointer) { C.tsr_runtime_release((*C.tsr_runtime)(p)) }}
	goruntime.SetFinalizer(r, func(r *Runtime) { r.ref.close() })
	return r, nil
}

// Close closes every engine that was made from it, which ends their requests; models stay usable for reading. It
// returns the first panic of a log function, if there was one. In a callback it is ErrWrongState.
func (r *Runtime) Close() error {
	p, err := r.ref.enter()
	if err != nil {
		return nil
	}
	defer r.ref.leave()
	var e *C.tsr_error
	if err := check(C.tsr_runtime_close((*C.tsr_runtime)(p), &e), e); err != nil {
		return err
	}
	r.mu.Lock()
	hubs := r.hubs
	r.hubs = map[*hub]struct{}{}
	r.mu.Unlock()
	for h := range hubs {
		h.stop()
	}
	goruntime.SetFinalizer(r, nil)
	r.ref.close()
	return troubleIn("runtime", r.callbacks)
}

// Release gives up this reference without closing anything: models and engines made from it go on, and it ends with
// the last of them. The runtime is not used afterwards.
func (r *Runtime) Release() {
	goruntime.SetFinalizer(r, nil)
	r.ref.close()
}

// prepare gives each callback of the settings a state of its own.
func prepare(settings []setting) ([]setting, []*callback) {
	var callbacks []*callback
	prepared := append([]setting(nil), settings...)
	for i, s := range prepared {
		if c, ok := s.value.(*callback); ok {
			prepared[i].value = c.fresh()
			callbacks = append(callbacks, prepared[i].value.(*callback))
		}
	}
	return prepared, callbacks
}

// failureOf gives what the callbacks failed with first, or nil.
func failureOf(callbacks []*callback) error {
	for _, c := range callbacks {
		if err := c.failure(); err != nil {
			return err
		}
	}
	return nil
}

func troubleIn(what string, callbacks []*callback) error {
	if cause := failureOf(callbacks); cause != nil {
		return &Error{Code: ErrInternal, Message: what + ": a callback failed", Place: what, Cause: cause}
	}
	return nil
}
