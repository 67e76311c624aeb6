// Queues for hosts that have a loop of their own: events of any number of requests, told apart by tags. Most programs
// want Session.Generate instead, which needs none.

package tessera

// #include <tessera/tessera.h>
import "C"

import (
	goruntime "runtime"
	"sync"
	"time"
	"unsafe"
)

// Queue collects the events of requests that Session.Submit started. A request whose events are not polled pauses.
type Queue struct {
	ref       ref
	callbacks []*callback
	buffers   sync.Pool // of []uint64: two callers at once are the library's to refuse
}

// Event is one thing that a request did.
type Event struct {
	Tag     uint64 // from Submit
	Request uint64 // the request's id
	Chunk   Chunk
	Result  Result // where its Reason is not Running, the request has ended
	Err     error  // what it failed with
}

// NewQueue creates a queue, which outlives the engines that post to it.
func (r *Runtime) NewQueue(options ...QueueOption) (*Queue, error) {
	p, err := r.ref.enter()
	if err != nil {
		return nil, err
	}
	defer r.ref.leave()
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
	var queue *C.tsr_queue
	var e *C.tsr_error
	if err := check(C.tsr_queue_create((*C.tsr_runtime)(p), set, &queue, &e), e); err != nil {
		return nil, err
	}
	q := &Queue{callbacks: callbacks}
	q.buffers.New = func() any { return make([]uint64, 8<<10/8) }
	q.ref = ref{what: "queue", pointer: unsafe.Pointer(queue),
		free: func(p unsafe.Pointer) { C.tsr_queue_release((*C.tsr_queue)(p)) }}
	goruntime.SetFinalizer(q, func(q *Queue) { q.ref.close() })
	return q, nil
}

// Submit is Generate for a queue: the request's events go there with the tag. The request's id is returned.
func (s *Session) Submit(queue *Queue, tag uint64, options ...RequestOption) (uint64, error) {
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.setting)
	}
	set, err := newOptions(settings)
	if err != nil {
		return 0, err
	}
	defer C.tsr_options_release(set)
	q, err := queue.ref.enter()
	if err != nil {
		return 0, err
	}
	defer queue.ref.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	var id C.uint64_t
	err = s.call(func(p *C.tsr_session, e **C.tsr_error) C.tsr_status {
		return C.tsr_session_generate(p, set, (*C.tsr_queue)(q), C.uint64_t(tag), &id, e)
	})
	if err == nil {
		s.current.Store(nil)
	}
	return uint64(id), err
}

// Poll gives the events that wait, and waits up to the timeout for the first one: 0 does not, negative waits without
// end. None come after the timeout or a Wake. While it waits it holds a thread. A second caller gets ErrBusy.
func (q *Queue) Poll(timeout time.Duration) ([]Event, error) {
	return q.fetch(func(p *C.tsr_queue, buffer unsafe.Pointer, capacity C.size_t, used *C.size_t,
		e **C.tsr_error) C.tsr_status {
		return C.tsr_queue_poll(p, C.int64_t(timeout), buffer, capacity, used, e)
	})
}

// Wait is Poll for programs without a loop: when the engine is stepped, this thread steps it until there is an event.
func (q *Queue) Wait(engine *Engine, timeout time.Duration) ([]Event, error) {
	p, err := engine.ref.enter()
	if err != nil {
		return nil, err
	}
	defer engine.ref.leave()
	return q.fetch(func(queue *C.tsr_queue, buffer unsafe.Pointer, capacity C.size_t, used *C.size_t,
		e **C.tsr_error) C.tsr_status {
		return C.tsr_queue_wait(queue, (*C.tsr_engine)(p), C.int64_t(timeout), buffer, capacity, used, e)
	})
}

func (q *Queue) fetch(call func(*C.tsr_queue, unsafe.Pointer, C.size_t, *C.size_t, **C.tsr_error) C.tsr_status) (
	[]Event, error) {
	p, err := q.ref.enter()
	if err != nil {
		return nil, err
	}
	defer q.ref.leave()
	if err := troubleIn("queue", q.callbacks); err != nil {
		return nil, err
	}
	buffer := q.buffers.Get().([]uint64)
	defer func() { q.buffers.Put(buffer) }()
	for {
		var used C.size_t
		var e *C.tsr_error
		status := call((*C.tsr_queue)(p), unsafe.Pointer(&buffer[0]), C.size_t(len(buffer)*8), &used, &e)
		err := check(status, e)
		if status == C.TSR_STATUS_BUFFER_TOO_SMALL {
			buffer = make([]uint64, (used+7)/8)
			continue
		}
		if err != nil {
			return nil, err
		}
		return eventsOf(unsafe.Pointer(&buffer[0]), uintptr(used)), nil
	}
}

func eventsOf(records unsafe.Pointer, used uintptr) []Event {
	var events []Event
	for at := uintptr(0); at < used; {
		record := unsafe.Add(records, at)
		head := (*C.tsr_event)(record)
		at += uintptr(head.size)
		event := Event{Tag: uint64(head.tag)}
		switch head.kind {
		case C.TSR_EVENT_TOKENS:
			tokens := (*C.tsr_event_tokens)(record)
			event.Request, event.Chunk = uint64(tokens.request), chunkOf(tokens)
		case C.TSR_EVENT_FINISHED:
			finished := (*C.tsr_event_finished)(record)
			event.Request = uint64(finished.request)
			var e *Error
			if event.Result, e = resultOf(finished); e != nil {
				event.Err = e
			}
		default:
			continue
		}
		events = append(events, event)
	}
	return events
}

// Wake makes the Poll that waits now, or else the next one, return at once.
func (q *Queue) Wake() error {
	p, err := q.ref.enter()
	if err != nil {
		return err
	}
	defer q.ref.leave()
	var e *C.tsr_error
	return check(C.tsr_queue_wake((*C.tsr_queue)(p), &e), e)
}

// Descriptor is readable as long as events wait. It is the queue's: never read, write or close it.
func (q *Queue) Descriptor() (uintptr, error) {
	p, err := q.ref.enter()
	if err != nil {
		return 0, err
	}
	defer q.ref.leave()
	var fd C.int
	var e *C.tsr_error
	err = check(C.tsr_queue_descriptor((*C.tsr_queue)(p), &fd, &e), e)
	return uintptr(fd), err
}

// Close drops the queue. Requests that still run go on; their events are thrown away. Idempotent.
func (q *Queue) Close() error {
	goruntime.SetFinalizer(q, nil)
	q.ref.close()
	return nil
}
