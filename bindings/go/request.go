// Requests: what an engine generates for a session, as chunks that are taken one by one.

package tessera

// #include "hub.h"
import "C"

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// TokenLogprob is a token and the natural logarithm of its probability.
type TokenLogprob struct {
	Token   int32
	Logprob float32
}

// Chunk is a piece of an answer.
type Chunk struct {
	Text     string           // whole code points; may lag behind the tokens
	Tokens   []int32          // may be empty in the last chunk, which brings text that was held back
	Logprobs []float32        // of each token, where RequestTopLogprobs asks for them
	Top      [][]TokenLogprob // alternatives of each token, most probable first
}

// Reason says why a request ended.
type Reason int32

// The reasons.
const (
	Running         Reason = 0                      // it has not ended
	ReasonEnd       Reason = C.TSR_FINISH_END       // the model ended its turn
	ReasonStop      Reason = C.TSR_FINISH_STOP      // a stop string or stop token
	ReasonLength    Reason = C.TSR_FINISH_LENGTH    // RequestMaxTokens were generated
	ReasonContext   Reason = C.TSR_FINISH_CONTEXT   // the context is full
	ReasonCancelled Reason = C.TSR_FINISH_CANCELLED // cancelled, or the session was closed
	ReasonDeadline  Reason = C.TSR_FINISH_DEADLINE  // the deadline has passed
	ReasonError     Reason = C.TSR_FINISH_ERROR     // Err says what failed
	ReasonClosed    Reason = C.TSR_FINISH_CLOSED    // the engine was closed
)

func (r Reason) String() string {
	names := [...]string{"running", "end", "stop", "length", "context", "cancelled", "deadline", "error", "closed"}
	if r < 0 || int(r) >= len(names) {
		return "unknown"
	}
	return names[r]
}

// Result is how a request ended.
type Result struct {
	Reason          Reason
	PromptTokens    int           // computed before the first new one
	GeneratedTokens int           // generated and kept in the session, the end token included
	LastToken       int32         // -1: none
	Queued          time.Duration // from submission to the first computation
	Prompt          time.Duration // from there to the first token
	Decode          time.Duration // from there to the end
}

// Answer is all of a request.
type Answer struct {
	Chunk
	Result
}

// CancelEffect says what a cancelled request leaves in its session.
type CancelEffect int32

// The effects of a cancel.
const (
	KeepTokens CancelEffect = C.TSR_CANCEL_KEEP // the tokens generated so far
	DropTokens CancelEffect = C.TSR_CANCEL_DROP // nothing: the session is as it was before Generate
)

// defaultWindow is how many chunks wait in Go before the request's queue is left alone, and the request pauses once
// the library's own buffer is full too.
const defaultWindow = 32

// windowKey marks the one setting of requests that is this package's own.
const windowKey = "go.window"

// RequestWindow sets how many chunks may wait for the consumer, 1 and up, before the request pauses; a few more come
// that were on their way. Default: 32.
func RequestWindow(chunks int) RequestOption {
	return RequestOption{setting{windowKey, int64(chunks)}}
}

// Request is an answer in the making. Take its chunks with Next, ForEach, All, Stream or Collect: all of them, or
// cancel it by its context or Close, for else it waits for ever.
type Request struct {
	session *Session
	hub     *hub
	tag     uint64
	id      uint64
	context context.Context
	window  int
	arrived chan struct{} // holds one: something may be there
	done    chan struct{} // closed when the terminal event came
	gone    chan struct{} // closed by Close

	mu      sync.Mutex
	node    *C.tessera_go_node // nil: ended
	chunks  []Chunk
	held    bool // the queue is left alone until chunks are taken
	flowing bool // never hold again: the end is near
	closed  bool // nobody wants chunks any more
	result  Result
	err     error
}

// chunkOf copies a record; its text is in one piece with nothing else.
func chunkOf(event *C.tsr_event_tokens) Chunk {
	base := unsafe.Pointer(event)
	var c Chunk
	if event.text_size > 0 {
		c.Text = string(unsafe.Slice((*byte)(unsafe.Add(base, event.text_offset)), int(event.text_size)))
	}
	count := int(event.token_count)
	if count == 0 {
		return c
	}
	c.Tokens = append(c.Tokens, unsafe.Slice((*int32)(unsafe.Add(base, event.token_offset)), count)...)
	if event.logprob_offset == 0 {
		return c
	}
	c.Logprobs = append(c.Logprobs, unsafe.Slice((*float32)(unsafe.Add(base, event.logprob_offset)), count)...)
	c.Top = make([][]TokenLogprob, count)
	if width := int(event.top_count); width > 0 && event.top_offset != 0 {
		// The layout is tsr_token_logprob's: an int32 and a float.
		all := append([]TokenLogprob(nil),
			unsafe.Slice((*TokenLogprob)(unsafe.Add(base, event.top_offset)), count*width)...)
		for i := range c.Top {
			c.Top[i] = all[i*width : (i+1)*width : (i+1)*width]
		}
	}
	return c
}

// resultOf copies a terminal record; the error is nil where the request ended as it should.
func resultOf(event *C.tsr_event_finished) (Result, *Error) {
	result := Result{Reason: Reason(event.reason), PromptTokens: int(event.prompt_tokens),
		GeneratedTokens: int(event.generated_tokens), LastToken: int32(event.last_token),
		Queued: time.Duration(event.queued_ns), Prompt: time.Duration(event.prompt_ns),
		Decode: time.Duration(event.decode_ns)}
	if event.status == C.TSR_STATUS_OK {
		return result, nil
	}
	message := "request: it ended with reason " + result.Reason.String()
	if event.message_size > 0 {
		message = string(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(event), event.message_offset)),
			int(event.message_size)))
	}
	return result, &Error{Code: Code(event.status), Message: message, Place: "request"}
}

// push is called by the hub's goroutine, and never waits.
func (r *Request) push(c Chunk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.chunks = append(r.chunks, c)
	if len(r.chunks) >= r.window && !r.flowing && !r.held {
		r.held = true
		atomic.StoreInt32((*int32)(unsafe.Pointer(&r.node.held)), 1)
	}
	r.tell()
}

func (r *Request) tell() {
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// release lets the hub look at the queue again; r.mu is held.
func (r *Request) release() {
	if r.held && r.node != nil {
		atomic.StoreInt32((*int32)(unsafe.Pointer(&r.node.held)), 0)
		C.tessera_go_node_ring(r.node)
	}
	r.held = false
}

// flow takes all that the library still has; there is little, and an end.
func (r *Request) flow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flowing = true
	r.release()
}

// finish is called by the hub's goroutine, which gets the node back.
func (r *Request) finish(event *C.tsr_event_finished) *C.tessera_go_node {
	r.mu.Lock()
	defer r.mu.Unlock()
	var e *Error
	if r.result, e = resultOf(event); e != nil {
		// Which of the two clocks was first is of no interest: a context's end is told as the context tells it.
		if cause := r.context.Err(); cause != nil && (e.Code == ErrCancelled || e.Code == ErrDeadlineExceeded) {
			e.Cause = cause
			if cause == context.DeadlineExceeded {
				e.Code, r.result.Reason = ErrDeadlineExceeded, ReasonDeadline
			}
		}
		r.err = e
	}
	node := r.node
	atomic.StoreInt32((*int32)(unsafe.Pointer(&node.held)), 0)
	r.node = nil
	close(r.done)
	return node
}

// watch cancels the request when its context ends.
func (r *Request) watch() {
	select {
	case <-r.context.Done():
		r.session.cancel(r, KeepTokens)
	case <-r.done:
	}
}

// ID is unique within the engine.
func (r *Request) ID() uint64 { return r.id }

// Done is closed when the request has ended and its last chunk is there to be taken.
func (r *Request) Done() <-chan struct{} { return r.done }

// Err is nil while the request runs, and when it ended as it should: by the model, a stop, its length or the context.
// After the context's end, errors.Is(err, context.Canceled) or context.DeadlineExceeded holds.
func (r *Request) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Result is how it ended; the Reason is Running before.
func (r *Request) Result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result
}

// Next waits for the next chunk. After the last one it gives io.EOF, or what the request failed with.
func (r *Request) Next() (Chunk, error) {
	for {
		r.mu.Lock()
		if len(r.chunks) > 0 {
			c := r.chunks[0]
			r.chunks[0] = Chunk{}
			r.chunks = r.chunks[1:]
			if len(r.chunks) <= r.window/2 {
				r.release()
			}
			if len(r.chunks) > 0 {
				r.tell() // there may be another goroutine that waits
			}
			r.mu.Unlock()
			return c, nil
		}
		ended, err := r.node == nil, r.err
		r.mu.Unlock()
		if ended && err != nil {
			return Chunk{}, err
		}
		if ended {
			return Chunk{}, io.EOF
		}
		select {
		case <-r.arrived:
		case <-r.done:
		}
	}
}

// ForEach hands every chunk to yield, and ends early, cancelling the request, when that returns false or panics. It
// returns what the request failed with; nothing where yield ended it.
func (r *Request) ForEach(yield func(Chunk) bool) error {
	whole := false
	defer func() {
		if !whole {
			r.Close()
		}
	}()
	for {
		c, err := r.Next()
		if err == io.EOF {
			whole = true
			return nil
		}
		if err != nil {
			whole = true
			return err
		}
		if !yield(c) {
			return nil
		}
	}
}

// All is ForEach as an iterator: with Go 1.23, `for chunk := range request.All()`. Look at Err afterwards.
func (r *Request) All() func(yield func(Chunk) bool) {
	return func(yield func(Chunk) bool) { r.ForEach(yield) }
}

// Stream gives the chunks by a channel without a buffer, which is closed after the last one; look at Err then. Who
// stops receiving early calls Close, or ends the context.
func (r *Request) Stream() <-chan Chunk {
	stream := make(chan Chunk)
	go func() {
		defer close(stream)
		for {
			c, err := r.Next()
			if err != nil {
				return
			}
			select {
			case stream <- c:
			case <-r.context.Done():
				<-r.done // the watcher cancels; Err is to tell why the channel is closed
				r.truncated()
				return
			case <-r.hub.done:
				r.truncated()
				return
			case <-r.gone:
				return
			}
		}
	}()
	return stream
}

// truncated makes Err speak where chunks of a request that ended well were not delivered.
func (r *Request) truncated() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	if cause := r.context.Err(); cause != nil {
		r.err = contextError(cause, "request: its stream was not read to the end")
		return
	}
	r.err = closedError("engine")
}

// Collect waits for the end and gives all of the answer, also with an error: what came until then.
func (r *Request) Collect() (Answer, error) {
	var answer Answer
	var text strings.Builder
	err := r.ForEach(func(c Chunk) bool {
		text.WriteString(c.Text)
		answer.Tokens = append(answer.Tokens, c.Tokens...)
		answer.Logprobs = append(answer.Logprobs, c.Logprobs...)
		answer.Top = append(answer.Top, c.Top...)
		return true
	})
	answer.Text = text.String()
	answer.Result = r.Result()
	return answer, err
}

// Cancel ends the request, whatever it is doing. What was generated until then can still be taken. It does nothing
// after the end.
func (r *Request) Cancel(effect CancelEffect) error {
	return r.session.cancel(r, effect)
}

// Close cancels the request, if it has not ended, and throws away chunks that were not taken. Idempotent.
func (r *Request) Close() error {
	r.mu.Lock()
	first := !r.closed
	r.closed = true
	r.chunks = nil
	r.mu.Unlock()
	if !first {
		return nil
	}
	close(r.gone)
	r.tell()
	if err := r.Cancel(KeepTokens); !errors.Is(err, ErrClosed) { // a closed session has cancelled it already
		return err
	}
	return nil
}
