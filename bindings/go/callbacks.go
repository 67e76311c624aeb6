// Callbacks of the host's in Go: the log, a load's progress, readers, a GPU's memory, rendezvous of ranks. A panic in
// one ends there: it becomes the cause of the error of the call that it disturbed.

package tessera

// #include "callbacks.h"
import "C"

import (
	"errors"
	"io"
	"runtime/cgo"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"
)

// Level says how much a log line matters.
type Level int32

// The levels of log lines.
const (
	LevelDebug   Level = C.TSR_LOG_DEBUG
	LevelInfo    Level = C.TSR_LOG_INFO
	LevelWarning Level = C.TSR_LOG_WARNING
	LevelError   Level = C.TSR_LOG_ERROR
)

func (l Level) String() string {
	switch l {
	case LevelDebug:
		return "debug"
	case LevelInfo:
		return "info"
	case LevelWarning:
		return "warning"
	case LevelError:
		return "error"
	}
	return "unknown"
}

// MemoryClass says what memory is for.
type MemoryClass int32

// The classes of memory.
const (
	MemoryWeights MemoryClass = C.TSR_MEMORY_CLASS_WEIGHTS
	MemoryCache   MemoryClass = C.TSR_MEMORY_CLASS_CACHE
	MemoryScratch MemoryClass = C.TSR_MEMORY_CLASS_SCRATCH
)

// Memory is the host's own memory for a GPU. Several goroutines call it at once. What it gives is not Go's memory.
type Memory interface {
	// Allocate gives memory of size bytes, aligned to 256, or nil where there is none.
	Allocate(class MemoryClass, size uintptr) unsafe.Pointer
	// Free takes back what Allocate gave.
	Free(class MemoryClass, data unsafe.Pointer, size uintptr)
}

// AllGather is how ranks of different processes find each other: each brings `in`, everywhere as long, and gets
// everybody's in `out`, in rank order. Both are valid during the call alone. An error makes the engine's creation
// fail with ErrLost and that cause.
type AllGather func(tag string, epoch uint64, in, out []byte, timeout time.Duration) error

// RuntimeLog sets "runtime.log": where log lines go, from several threads at once. The first panic
// in it is returned by Runtime.Close.
func RuntimeLog(write func(level Level, message string)) RuntimeOption {
	return RuntimeOption{setting{"runtime.log", &callback{function: write}}}
}

// ModelProgress sets "model.progress": called about every 64 MiB and once at the end. An error ends the load with
// ErrCancelled and that cause.
func ModelProgress(progress func(doneBytes, totalBytes uint64) error) ModelOption {
	return ModelOption{setting{"model.progress", &callback{function: progress}}}
}

// DeviceMemory sets "device.memory": where the GPU's memory comes from.
func DeviceMemory(memory Memory) ModelOption {
	return ModelOption{setting{"device.memory", &callback{function: memory}}}
}

// DevicePinnedMemory sets "device.pinned_memory": where pinned memory of the host comes from.
func DevicePinnedMemory(memory Memory) ModelOption {
	return ModelOption{setting{"device.pinned_memory", &callback{function: memory}}}
}

// EngineRendezvous sets "engine.rendezvous": how ranks in other processes are found.
func EngineRendezvous(gather AllGather) EngineOption {
	return EngineOption{setting{"engine.rendezvous", &callback{function: gather}}}
}

// QueueOnReady sets "queue.on_ready": called when the queue was empty and is not any more, or was woken. It must not
// block; a panic in it is returned by the queue's next Poll or Wait.
func QueueOnReady(ready func()) QueueOption {
	return QueueOption{setting{"queue.on_ready", &callback{function: ready}}}
}

// callback is a function and the first thing that went wrong in it. One option may be given to several calls, each of
// which makes a copy with `fresh`.
type callback struct {
	function any
	mu       sync.Mutex
	err      error
}

func (c *callback) fresh() *callback { return &callback{function: c.function} }

func (c *callback) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *callback) failure() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// recovered keeps a panic from crossing into C; deferred by every exported function.
func (c *callback) recovered() {
	if value := recover(); value != nil {
		c.fail(&PanicError{Value: value, Stack: debug.Stack()})
	}
}

func (c *callback) set(options *C.tsr_options, key *C.char, size C.size_t, e **C.tsr_error) C.tsr_status {
	handle := C.uintptr_t(cgo.NewHandle(c))
	switch c.function.(type) {
	case func(Level, string):
		return C.tessera_go_set_log(options, key, size, handle, e)
	case func(uint64, uint64) error:
		return C.tessera_go_set_progress(options, key, size, handle, e)
	case Memory:
		return C.tessera_go_set_memory(options, key, size, handle, e)
	case func():
		return C.tessera_go_set_ready(options, key, size, handle, e)
	}
	return C.tessera_go_set_rendezvous(options, key, size, handle, e)
}

func callbackOf(handle C.uintptr_t) *callback { return cgo.Handle(handle).Value().(*callback) }

//export tesseraGoDrop
func tesseraGoDrop(handle C.uintptr_t) { cgo.Handle(handle).Delete() }

//export tesseraGoLog
func tesseraGoLog(handle C.uintptr_t, level C.int32_t, message *C.char, size C.size_t) {
	c := callbackOf(handle)
	defer c.recovered()
	c.function.(func(Level, string))(Level(level), C.GoStringN(message, C.int(size)))
}

//export tesseraGoProgress
func tesseraGoProgress(handle C.uintptr_t, done, total C.uint64_t) (stop C.int32_t) {
	c := callbackOf(handle)
	stop = 1 // what a panic leaves
	defer c.recovered()
	if err := c.function.(func(uint64, uint64) error)(uint64(done), uint64(total)); err != nil {
		c.fail(err)
		return 1
	}
	return 0
}

//export tesseraGoReady
func tesseraGoReady(handle C.uintptr_t) {
	c := callbackOf(handle)
	defer c.recovered()
	c.function.(func())()
}

//export tesseraGoAllocate
func tesseraGoAllocate(handle C.uintptr_t, class C.int32_t, size C.size_t) unsafe.Pointer {
	c := callbackOf(handle)
	defer c.recovered()
	return c.function.(Memory).Allocate(MemoryClass(class), uintptr(size))
}

//export tesseraGoFree
func tesseraGoFree(handle C.uintptr_t, class C.int32_t, data unsafe.Pointer, size C.size_t) {
	c := callbackOf(handle)
	defer c.recovered()
	c.function.(Memory).Free(MemoryClass(class), data, uintptr(size))
}

//export tesseraGoAllGather
func tesseraGoAllGather(handle C.uintptr_t, tag *C.char, tagSize C.size_t, epoch C.uint64_t, in unsafe.Pointer,
	size C.size_t, out unsafe.Pointer, timeout C.int64_t) (failed C.int32_t) {
	c := callbackOf(handle)
	failed = 1
	defer c.recovered()
	gather := c.function.(*rendezvous)
	err := gather.gather(C.GoStringN(tag, C.int(tagSize)), uint64(epoch), unsafe.Slice((*byte)(in), int(size)),
		unsafe.Slice((*byte)(out), int(size)*gather.ranks), time.Duration(timeout))
	if err != nil {
		c.fail(err)
		return 1
	}
	return 0
}

// rendezvous knows how many ranks there are, which the callback is not told.
type rendezvous struct {
	gather AllGather
	ranks  int
}

//export tesseraGoReadAt
func tesseraGoReadAt(handle C.uintptr_t, offset C.uint64_t, buffer unsafe.Pointer, size C.size_t) (got C.int64_t) {
	c := callbackOf(handle)
	got = -1
	defer c.recovered()
	n, err := c.function.(io.ReaderAt).ReadAt(unsafe.Slice((*byte)(buffer), int(size)), int64(offset))
	if n < int(size) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		c.fail(err)
	}
	return C.int64_t(n)
}
