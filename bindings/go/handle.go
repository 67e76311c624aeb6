// References to the library's objects: Close is idempotent, safe beside running calls, and use after it is an error.

package tessera

import (
	"sync"
	"unsafe"
)

// ref counts the calls that are inside the library with a pointer, and the children that need it, so that Close never frees what one of them uses:
// the last call out does. It never blocks.
type ref struct {
	mu      sync.Mutex
	pointer unsafe.Pointer
	calls   int
	closed  bool
	what    string               // for errors: "engine"
	free    func(unsafe.Pointer) // called once, with no lock held
}

// enter gives the pointer for a call, which leave ends.
func (r *ref) enter() (unsafe.Pointer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, closedError(r.what)
	}
	r.calls++
	return r.pointer, nil
}

// hold is enter for a child of what the caller has entered: that may be closed already, but not freed.
func (r *ref) hold() unsafe.Pointer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	return r.pointer
}

func (r *ref) leave() {
	r.mu.Lock()
	r.calls--
	last := r.closed && r.calls == 0
	r.mu.Unlock()
	if last {
		r.free(r.pointer)
	}
}

// close reports whether this call was the one that closed it.
func (r *ref) close() bool {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return false
	}
	r.closed = true
	last := r.calls == 0
	r.mu.Unlock()
	if last {
		r.free(r.pointer)
	}
	return true
}
