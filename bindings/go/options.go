// Options: typed constructors for every setting of the library (options_gen.go) and how they are handed over.

//go:generate go run ./internal/genoptions ../../docs/settings.md options_gen.go

package tessera

// #include <stdlib.h>
// #include <string.h>
// #include <tessera/tessera.h>
import "C"

import (
	"fmt"
	"time"
	"unsafe"
)

// setting is one key and its value: int64, float64, bool, string, lists of these, unsafe.Pointer or *callback.
type setting struct {
	key   string
	value any
}

// The options of the calls that create things. Options of one kind are not taken by a call for another, which the
// compiler tells. Their constructors are named after the settings: "engine.cache_tokens" is EngineCacheTokens.
type (
	// RuntimeOption is a setting of NewRuntime.
	RuntimeOption struct{ setting }
	// ModelOption is a setting of the Load methods, for the model or its device; plans take it too.
	ModelOption struct{ setting }
	// EngineOption is a setting of NewEngine; plans take it too.
	EngineOption struct{ setting }
	// PlanOption is a setting of the Plan methods.
	PlanOption struct{ setting }
	// SessionOption is a setting of NewSession, Fork and Restore.
	SessionOption struct{ setting }
	// StateOption is a setting of Save and Restore.
	StateOption struct{ setting }
	// ChatOption is a setting of ApplyChatTemplate and AppendChat.
	ChatOption struct{ setting }
	// QueueOption is a setting of NewQueue.
	QueueOption struct{ setting }
	// RequestOption is a setting of Generate, for the request or how its tokens are sampled.
	RequestOption struct{ setting }
)

// PlanningOption is what plans take: a ModelOption, an EngineOption or a PlanOption.
type PlanningOption interface{ planning() setting }

func (o ModelOption) planning() setting  { return o.setting }
func (o EngineOption) planning() setting { return o.setting }
func (o PlanOption) planning() setting   { return o.setting }

// RestoreOption is what Restore takes: a SessionOption or a StateOption.
type RestoreOption interface{ restoring() setting }

func (o SessionOption) restoring() setting { return o.setting }
func (o StateOption) restoring() setting   { return o.setting }

// Setting makes an option from a key that this package has no constructor for, such as one of a later library:
//
//	tessera.Setting[tessera.EngineOption]("x.something", 3)
//
// The value is an int, int64, float64, bool, string, time.Duration (as nanoseconds), a slice of int64, float64 or
// string, or an unsafe.Pointer.
func Setting[O RuntimeOption | ModelOption | EngineOption | PlanOption | SessionOption | StateOption | ChatOption |
	QueueOption | RequestOption](key string, value any) O {
	switch v := value.(type) {
	case int:
		value = int64(v)
	case int32:
		value = int64(v)
	case time.Duration:
		value = int64(v)
	case float32:
		value = float64(v)
	}
	return O(RuntimeOption{setting{key, value}})
}

// newOptions makes a set, which the caller releases; nil when there are no settings.
func newOptions(settings []setting) (*C.tsr_options, error) {
	if len(settings) == 0 {
		return nil, nil
	}
	var options *C.tsr_options
	var e *C.tsr_error
	if err := check(C.tsr_options_create(&options, &e), e); err != nil {
		return nil, err
	}
	for _, s := range settings {
		if err := s.apply(options); err != nil {
			C.tsr_options_release(options)
			return nil, err
		}
	}
	return options, nil
}

func (s setting) apply(options *C.tsr_options) error {
	var e *C.tsr_error
	var status C.tsr_status
	key, size := bytesOf([]byte(s.key))
	switch v := s.value.(type) {
	case int64:
		status = C.tsr_options_set_int(options, key, size, C.int64_t(v), &e)
	case float64:
		status = C.tsr_options_set_float(options, key, size, C.double(v), &e)
	case bool:
		truth := C.int32_t(0)
		if v {
			truth = 1
		}
		status = C.tsr_options_set_bool(options, key, size, truth, &e)
	case string:
		text, textSize := bytesOf([]byte(v))
		status = C.tsr_options_set_string(options, key, size, text, textSize, &e)
	case []int64:
		var first *C.int64_t
		if len(v) > 0 {
			first = (*C.int64_t)(unsafe.Pointer(&v[0]))
		}
		status = C.tsr_options_set_int_list(options, key, size, first, C.size_t(len(v)), &e)
	case []float64:
		var first *C.double
		if len(v) > 0 {
			first = (*C.double)(unsafe.Pointer(&v[0]))
		}
		status = C.tsr_options_set_float_list(options, key, size, first, C.size_t(len(v)), &e)
	case []string:
		return s.applyStrings(options, v)
	case unsafe.Pointer:
		status = C.tsr_options_set_pointer(options, key, size, v, &e)
	case *callback:
		status = v.set(options, key, size, &e)
	default:
		return &Error{Code: ErrInvalidArgument, Place: s.key,
			Message: fmt.Sprintf("setting %q: a value of Go type %T, which no setting has", s.key, s.value)}
	}
	return check(status, e)
}

// applyStrings copies the strings to C memory first: C must not be given a list of Go pointers.
func (s setting) applyStrings(options *C.tsr_options, values []string) error {
	sizes := make([]C.size_t, len(values)+1)
	data := (**C.char)(C.calloc(C.size_t(len(values)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	if data == nil {
		return &Error{Code: ErrOutOfMemory, Message: "a list of strings", Place: s.key}
	}
	pointers := unsafe.Slice(data, len(values)+1)
	for i, value := range values {
		sizes[i], pointers[i] = C.size_t(len(value)), C.CString(value)
	}
	defer func() {
		for _, pointer := range pointers {
			C.free(unsafe.Pointer(pointer))
		}
		C.free(unsafe.Pointer(data))
	}()
	var e *C.tsr_error
	key, size := bytesOf([]byte(s.key))
	return check(C.tsr_options_set_string_list(options, key, size, data, &sizes[0], C.size_t(len(values)), &e), e)
}
