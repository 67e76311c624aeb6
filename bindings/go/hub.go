// The one goroutine of an engine that fetches events and hands them to requests. It sleeps in Go's network poller on
// the descriptor that hub.c rings. Must not know sessions.

package tessera

// #include "hub.h"
import "C"

import (
	"os"
	"sync"
	"unsafe"
)

// firstBufferBytes is what one crossing brings at the most; it grows where a single record is larger.
const firstBufferBytes = 64 << 10

type hub struct {
	c      *C.tessera_go_hub
	bell   *os.File
	buffer []uint64 // of the goroutine: records are aligned to 8 bytes
	done   chan struct{}
	// The runtime is held until the end: queues are made from it.
	runtime *ref

	mu       sync.Mutex
	requests map[uint64]*Request
	idle     []*C.tessera_go_node // queues of ended requests, for the next ones
	nodes    []*C.tessera_go_node // all
	lastTag  uint64
	stopping bool
}

func newHub(runtime *ref) (*hub, error) {
	c := C.tessera_go_hub_create()
	if c == nil {
		return nil, &Error{Code: ErrLimitExceeded, Message: "engine: no descriptor for its events", Place: "engine"}
	}
	fd, err := C.tessera_go_hub_descriptor(c)
	if fd < 0 {
		C.tessera_go_hub_release(c)
		return nil, &Error{Code: ErrLimitExceeded, Message: "engine: no descriptor for its events", Place: "engine", Cause: err}
	}
	// The descriptor does not block, so that os.NewFile gives it to the network poller.
	h := &hub{c: c, bell: os.NewFile(uintptr(fd), "tessera-events"), buffer: make([]uint64, firstBufferBytes/8),
		done: make(chan struct{}), runtime: runtime, requests: map[uint64]*Request{}}
	runtime.hold()
	go h.run()
	return h, nil
}

// run ends when stop was called and every request has its terminal event.
func (h *hub) run() {
	defer close(h.done)
	var rung [8]byte
	for {
		if _, err := h.bell.Read(rung[:]); err != nil {
			return // closed: only stop does that, afterwards
		}
		for h.drain() {
		}
		h.mu.Lock()
		over := h.stopping && len(h.requests) == 0
		h.mu.Unlock()
		if over {
			return
		}
	}
}

// drain is one crossing: it fetches what waits and hands it out. True when there is more.
func (h *hub) drain() bool {
	var used, needed C.size_t
	more := C.tessera_go_hub_drain(h.c, unsafe.Pointer(&h.buffer[0]), C.size_t(len(h.buffer)*8), &used, &needed)
	if needed != 0 {
		h.buffer = make([]uint64, (needed+7)/8)
		return true
	}
	for at := uintptr(0); at < uintptr(used); {
		record := unsafe.Add(unsafe.Pointer(&h.buffer[0]), at)
		head := (*C.tsr_event)(record)
		at += uintptr(head.size)
		h.mu.Lock()
		r := h.requests[uint64(head.tag)]
		h.mu.Unlock()
		if r == nil {
			continue
		}
		switch head.kind {
		case C.TSR_EVENT_TOKENS:
			r.push(chunkOf((*C.tsr_event_tokens)(record)))
		case C.TSR_EVENT_FINISHED:
			node := r.finish((*C.tsr_event_finished)(record))
			r.session.current.CompareAndSwap(r, nil)
			h.mu.Lock()
			delete(h.requests, r.tag)
			h.idle = append(h.idle, node)
			h.mu.Unlock()
		}
	}
	return more != 0
}

// add gives the request a tag and a queue before it is submitted, so that no event comes too early.
func (h *hub) add(r *Request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return closedError("engine")
	}
	if n := len(h.idle); n > 0 {
		r.node = h.idle[n-1]
		h.idle = h.idle[:n-1]
	} else {
		var e *C.tsr_error
		if err := check(C.tessera_go_node_create(h.c, (*C.tsr_runtime)(h.runtime.pointer), &r.node, &e), e); err != nil {
			return err
		}
		h.nodes = append(h.nodes, r.node)
	}
	h.lastTag++
	r.tag = h.lastTag
	h.requests[r.tag] = r
	return nil
}

// forget takes back a request that was not accepted.
func (h *hub) forget(r *Request) {
	h.mu.Lock()
	delete(h.requests, r.tag)
	h.idle = append(h.idle, r.node)
	h.mu.Unlock()
	h.ring()
}

// ring wakes the goroutine.
func (h *hub) ring() {
	one := [8]byte{1}
	h.bell.Write(one[:]) // fails only when it rings already
}

// stop is called when the engine is closed, or was never made: it waits for the terminal events of all requests, and
// then for the goroutine. The second caller waits too.
func (h *hub) stop() {
	h.mu.Lock()
	first := !h.stopping
	h.stopping = true
	var running []*Request
	for _, r := range h.requests {
		running = append(running, r)
	}
	h.mu.Unlock()
	if !first {
		<-h.done
		return
	}
	for _, r := range running {
		r.flow()
	}
	h.ring()
	<-h.done
	h.bell.Close()
	for _, node := range h.nodes {
		C.tsr_queue_release(node.queue)
	}
	C.tessera_go_hub_release(h.c)
	h.runtime.leave()
}
