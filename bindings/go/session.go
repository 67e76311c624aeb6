// Sessions: conversations, whose tokens and cache an engine keeps.

package tessera

// #include "hub.h"
import "C"

import (
	"context"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Session is one conversation: a sequence of tokens whose keys and values the engine keeps.
type Session struct {
	ref    ref
	engine *Engine
	mu     sync.Mutex // of submitting and cancelling, so that a cancel never meets a later request
	// The request that runs; nil after its end, for a session and a request that know each other would never be
	// finalized.
	current atomic.Pointer[Request]
}

func (e *Engine) session(pointer *C.tsr_session) *Session {
	s := &Session{engine: e}
	s.ref = ref{what: "session", pointer: unsafe.Pointer(pointer),
		free: func(p unsafe.Pointer) { C.tsr_session_release((*C.tsr_session)(p)) }}
	goruntime.SetFinalizer(s, func(s *Session) { s.ref.close() })
	return s
}

func sessionOptions(options []SessionOption) (*C.tsr_options, error) {
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.setting)
	}
	return newOptions(settings)
}

// NewSession creates an empty session.
func (e *Engine) NewSession(options ...SessionOption) (*Session, error) {
	p, err := e.ref.enter()
	if err != nil {
		return nil, err
	}
	defer e.ref.leave()
	set, err := sessionOptions(options)
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	var session *C.tsr_session
	var failure *C.tsr_error
	if err := check(C.tsr_session_create((*C.tsr_engine)(p), set, &session, &failure), failure); err != nil {
		return nil, err
	}
	return e.session(session), nil
}

// Restore makes a session from what Save gave, in this process or another, in Go or another language.
func (e *Engine) Restore(state []byte, options ...RestoreOption) (*Session, error) {
	p, err := e.ref.enter()
	if err != nil {
		return nil, err
	}
	defer e.ref.leave()
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.restoring())
	}
	set, err := newOptions(settings)
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	var session *C.tsr_session
	var failure *C.tsr_error
	bytes, size := bytesOf(state)
	err = check(C.tsr_session_restore((*C.tsr_engine)(p), unsafe.Pointer(bytes), size, set, &session, &failure), failure)
	if err != nil {
		return nil, err
	}
	return e.session(session), nil
}

// call is one call of the library with the session.
func (s *Session) call(do func(*C.tsr_session, **C.tsr_error) C.tsr_status) error {
	p, err := s.ref.enter()
	if err != nil {
		return err
	}
	defer s.ref.leave()
	var e *C.tsr_error
	return check(do((*C.tsr_session)(p), &e), e)
}

// AppendText appends text; nothing is computed yet. All of it or, with an error, none. PlainText is for what users
// typed.
func (s *Session) AppendText(text string, flags TextFlags) error {
	return s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		bytes, size := bytesOf([]byte(text))
		return C.tsr_session_append_text(p, bytes, size, C.int32_t(flags), e)
	})
}

// AppendChat appends a conversation through the model's chat template, ready to generate the answer. A template writes
// whole conversations: to go on after an answer, Rewind(0) and append all messages, the answer included. What is the
// same at the beginning is found in the cache.
func (s *Session) AppendChat(messages []Message, options ...ChatOption) error {
	text, err := messagesJSON(messages)
	if err != nil {
		return err
	}
	return s.AppendChatJSON(text, options...)
}

// AppendChatJSON does it for messages as a JSON array.
func (s *Session) AppendChatJSON(messages []byte, options ...ChatOption) error {
	set, err := chatOptions(options)
	if err != nil {
		return err
	}
	defer C.tsr_options_release(set)
	return s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		bytes, size := bytesOf(messages)
		return C.tsr_session_append_chat(p, bytes, size, set, e)
	})
}

// AppendTokens appends tokens, whose ids are checked.
func (s *Session) AppendTokens(tokens []int32) error {
	return s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		var first *C.int32_t
		if len(tokens) > 0 {
			first = (*C.int32_t)(unsafe.Pointer(&tokens[0]))
		}
		return C.tsr_session_append_tokens(p, first, C.size_t(len(tokens)), e)
	})
}

// Generate asks the engine to compute what was appended and to generate, and returns at once. When the context ends,
// so does the request: Err is then the context's error too. A context's deadline is told to the engine, unless
// RequestDeadline is among the options.
func (s *Session) Generate(ctx context.Context, options ...RequestOption) (*Request, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(err, "request: it was not submitted")
	}
	r := &Request{session: s, hub: s.engine.hub, context: ctx, window: defaultWindow,
		arrived: make(chan struct{}, 1), done: make(chan struct{}), gone: make(chan struct{})}
	var settings []setting
	timed := false
	for _, o := range options {
		if o.key == windowKey {
			window, ok := o.value.(int64)
			if !ok || window < 1 {
				return nil, &Error{Code: ErrInvalidArgument, Message: "RequestWindow: it must be at least 1", Place: "RequestWindow"}
			}
			r.window = int(window)
			continue
		}
		timed = timed || o.key == "request.deadline_ns"
		settings = append(settings, o.setting)
	}
	if deadline, ok := ctx.Deadline(); ok && !timed {
		left := time.Until(deadline)
		if left <= 0 {
			return nil, contextError(context.DeadlineExceeded, "request: it was not submitted")
		}
		settings = append(settings, RequestDeadline(left).setting)
	}
	set, err := newOptions(settings)
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.ref.enter()
	if err != nil {
		return nil, err
	}
	defer s.ref.leave()
	if err := r.hub.add(r); err != nil {
		return nil, err
	}
	var id C.uint64_t
	var e *C.tsr_error
	err = check(C.tsr_session_generate((*C.tsr_session)(p), set, r.node.queue, C.uint64_t(r.tag), &id, &e), e)
	if err != nil {
		r.hub.forget(r)
		return nil, err
	}
	r.id = uint64(id)
	s.current.Store(r)
	select {
	case <-r.done: // so soon that the hub did not find it here
		s.current.CompareAndSwap(r, nil)
	default:
	}
	if ctx.Done() != nil {
		go r.watch()
	}
	return r, nil
}

// cancel ends r, or the request that runs where r is nil.
func (s *Session) cancel(r *Request, effect CancelEffect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r != nil && s.current.Load() != r {
		return nil
	}
	if err := s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		return C.tsr_session_cancel(p, C.int32_t(effect), e)
	}); err != nil {
		return err
	}
	if running := s.current.Load(); running != nil {
		running.flow()
	}
	return nil
}

// Cancel ends the session's request, whatever it is doing; it does nothing when none runs.
func (s *Session) Cancel(effect CancelEffect) error { return s.cancel(nil, effect) }

// Fork makes a session with the same tokens and the same cache, which the two share until they differ.
func (s *Session) Fork(options ...SessionOption) (*Session, error) {
	set, err := sessionOptions(options)
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	var fork *C.tsr_session
	if err := s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		return C.tsr_session_fork(p, set, &fork, e)
	}); err != nil {
		return nil, err
	}
	return s.engine.session(fork), nil
}

// Rewind cuts the session to its first tokens; what they need of the cache is kept.
func (s *Session) Rewind(tokens int) error {
	if tokens < 0 {
		return &Error{Code: ErrInvalidArgument, Message: "tokens: it is negative", Place: "tokens"}
	}
	return s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		return C.tsr_session_rewind(p, C.size_t(tokens), e)
	})
}

// TokenCount is how many tokens the session holds, appended and generated; while a request runs, as of the last batch.
func (s *Session) TokenCount() (int, error) {
	var count C.size_t
	err := s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		return C.tsr_session_token_count(p, &count, e)
	})
	return int(count), err
}

// Tokens are the session's tokens.
func (s *Session) Tokens() ([]int32, error) {
	count, err := s.TokenCount()
	if err != nil || count == 0 {
		return nil, err
	}
	tokens := make([]int32, count)
	var copied C.size_t
	err = s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		return C.tsr_session_get_tokens(p, 0, (*C.int32_t)(unsafe.Pointer(&tokens[0])), C.size_t(count), &copied, e)
	})
	if err != nil {
		return nil, err
	}
	return tokens[:copied], nil
}

// Logits are those from which the last request would choose, or chose, its last token: raw, one for each token id. The
// session must have been made with SessionLogits.
func (s *Session) Logits() ([]float32, error) {
	logits := make([]float32, 1)
	for {
		var count C.size_t
		var status C.tsr_status
		err := s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
			status = C.tsr_session_get_logits(p, (*C.float)(unsafe.Pointer(&logits[0])), C.size_t(len(logits)), &count, e)
			return status
		})
		if err == nil {
			return logits[:count], nil
		}
		if status != C.TSR_STATUS_BUFFER_TOO_SMALL {
			return nil, err
		}
		logits = make([]float32, count)
	}
}

// Park gives the session's cache back to the others; its tokens stay. What nobody else has computed meanwhile is
// computed again when it goes on.
func (s *Session) Park() error {
	return s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status { return C.tsr_session_park(p, e) })
}

// Save gives the session as bytes, for Restore. Other sessions compute meanwhile.
func (s *Session) Save(options ...StateOption) ([]byte, error) {
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.setting)
	}
	set, err := newOptions(settings)
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	var state []byte
	for {
		var size C.size_t
		var status C.tsr_status
		err := s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
			bytes, capacity := bytesOf(state)
			status = C.tsr_session_save(p, set, unsafe.Pointer(bytes), capacity, &size, e)
			return status
		})
		if err == nil {
			return state[:size], nil
		}
		if status != C.TSR_STATUS_BUFFER_TOO_SMALL {
			return nil, err
		}
		state = make([]byte, size)
	}
}

// Close cancels what runs and drops the session. Idempotent.
func (s *Session) Close() error {
	s.cancel(nil, KeepTokens)
	goruntime.SetFinalizer(s, nil)
	s.ref.close()
	return nil
}

// CacheType is the type of keys and values in a saved state.
type CacheType int32

// The types of keys and values.
const (
	CacheNone CacheType = C.TSR_CACHE_NONE // tokens only
	CacheF32  CacheType = C.TSR_CACHE_F32
	CacheF16  CacheType = C.TSR_CACHE_F16
	CacheBF16 CacheType = C.TSR_CACHE_BF16
	CacheInt8 CacheType = C.TSR_CACHE_INT8
)

// StateHeaderBytes are what ProbeState needs at the least.
const StateHeaderBytes = C.TSR_STATE_HEADER_BYTES

// StateInfo is what a saved state says of itself.
type StateInfo struct {
	SizeBytes     uint64 // of the whole state
	TokenCount    int    // tokens of the session
	CachedTokens  int    // of these, tokens whose keys and values are there
	Version       int    // of the format
	CacheType     CacheType
	Complete      bool // the whole state was given, and every byte of it is sound
	ModelHash     [16]byte
	TokenizerHash [16]byte
}

// ProbeState looks at a saved state without a model: the whole of it, or its first StateHeaderBytes or more.
func ProbeState(state []byte) (StateInfo, error) {
	info := C.tsr_state_info{struct_size: C.sizeof_tsr_state_info}
	var e *C.tsr_error
	bytes, size := bytesOf(state)
	if err := check(C.tsr_state_probe(unsafe.Pointer(bytes), size, &info, &e), e); err != nil {
		return StateInfo{}, err
	}
	return StateInfo{SizeBytes: uint64(info.size_bytes), TokenCount: int(info.token_count),
		CachedTokens: int(info.cached_tokens), Version: int(info.version), CacheType: CacheType(info.cache_type),
		Complete: info.complete != 0, ModelHash: *(*[16]byte)(unsafe.Pointer(&info.model_hash)),
		TokenizerHash: *(*[16]byte)(unsafe.Pointer(&info.tokenizer_hash))}, nil
}
