// Errors: codes that errors.Is understands, and what the library says with them.

package tessera

// #include <tessera/tessera.h>
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"
)

// Code says what kind of failure an error is. Codes are errors themselves, so that
//
//	errors.Is(err, tessera.ErrBusy)
//
// asks for one. Later versions of the library may add codes.
type Code int32

// The codes of the library.
const (
	ErrCancelled        Code = C.TSR_STATUS_CANCELLED         // the host asked to stop
	ErrInvalidArgument  Code = C.TSR_STATUS_INVALID_ARGUMENT  // a value that cannot be meant
	ErrDeadlineExceeded Code = C.TSR_STATUS_DEADLINE_EXCEEDED // the time given has passed
	ErrNotFound         Code = C.TSR_STATUS_NOT_FOUND         // no such file, key or tensor
	ErrLimitExceeded    Code = C.TSR_STATUS_LIMIT_EXCEEDED    // a limit is reached
	ErrWrongState       Code = C.TSR_STATUS_WRONG_STATE       // right, but not now
	ErrUnsupported      Code = C.TSR_STATUS_UNSUPPORTED       // valid, but this build cannot do it
	ErrInternal         Code = C.TSR_STATUS_INTERNAL          // a defect
	ErrBusy             Code = C.TSR_STATUS_BUSY              // a request runs, or another caller is inside
	ErrCorrupt          Code = C.TSR_STATUS_CORRUPT           // a file or state that breaks its own format
	ErrOutOfMemory      Code = C.TSR_STATUS_OUT_OF_MEMORY     // memory could not be had
	ErrBufferTooSmall   Code = C.TSR_STATUS_BUFFER_TOO_SMALL  // this package answers it with a larger buffer
	ErrIO               Code = C.TSR_STATUS_IO_ERROR          // reading failed or fell short
	ErrInvalidUTF8      Code = C.TSR_STATUS_INVALID_UTF8      // text that is not UTF-8
	ErrClosed           Code = C.TSR_STATUS_CLOSED            // used after Close
	ErrNumericFault     Code = C.TSR_STATUS_NUMERIC_FAULT     // the model produced NaN or infinity
	ErrLost             Code = C.TSR_STATUS_LOST              // the device or a rank is gone
	ErrForked           Code = C.TSR_STATUS_FORKED            // this process is a child of fork
	ErrMismatch         Code = C.TSR_STATUS_MISMATCH          // a saved state of another model
)

// String gives the constant's name in the C API, such as "TSR_STATUS_BUSY".
func (c Code) String() string { return C.GoString(C.tsr_status_name(C.tsr_status(c))) }

// Error makes a code usable with errors.Is.
func (c Code) Error() string { return "tessera: " + c.String() }

// Error is what a call of this package failed with. Use errors.As to get at it.
type Error struct {
	Code    Code
	Message string // for people: what was wrong, where, what was expected
	Place   string // the file, tensor, key, setting or argument alone, or ""
	Cause   error  // what a callback or context said, or nil
}

func (e *Error) Error() string {
	text := "tessera: " + e.Message
	if e.Message == "" {
		text = e.Code.Error()
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap gives the cause: the error of an io.ReaderAt, a progress function or a context.
func (e *Error) Unwrap() error { return e.Cause }

// Is answers for the code and for the standard library's errors of the same meaning: context.Canceled,
// context.DeadlineExceeded, fs.ErrNotExist and os.ErrClosed.
func (e *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded, os.ErrDeadlineExceeded:
		return e.Code == ErrDeadlineExceeded
	case fs.ErrNotExist:
		return e.Code == ErrNotFound
	case os.ErrClosed:
		return e.Code == ErrClosed
	}
	code, ok := target.(Code)
	return ok && e.Code == code
}

// PanicError is the cause of an Error where a callback panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in a callback: %v", e.Value) }

// Unwrap gives the value where it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// check turns a status and its error, which it releases, into a Go error.
func check(status C.tsr_status, err *C.tsr_error) error {
	if status == C.TSR_STATUS_OK {
		return nil
	}
	e := &Error{Code: Code(status)}
	if err != nil {
		var size C.size_t
		text := C.tsr_error_message(err, &size)
		e.Message = C.GoStringN(text, C.int(size))
		text = C.tsr_error_place(err, &size)
		e.Place = C.GoStringN(text, C.int(size))
		C.tsr_error_release(err)
	}
	return e
}

// because adds a callback's error to the library's; the library's alone where the callback had none.
func because(err, cause error) error {
	var e *Error
	if cause != nil && errors.As(err, &e) {
		e.Cause = cause
	}
	return err
}

func closedError(what string) error {
	return &Error{Code: ErrClosed, Message: what + ": it was closed", Place: what}
}

// contextError tells a context's end in the library's terms, with the context's own error as its cause.
func contextError(cause error, message string) error {
	code := ErrCancelled
	if errors.Is(cause, context.DeadlineExceeded) {
		code = ErrDeadlineExceeded
	}
	return &Error{Code: code, Message: message, Cause: cause}
}

// bytesOf gives C the bytes of a Go slice, which it reads during the call.
func bytesOf(data []byte) (*C.char, C.size_t) {
	if len(data) == 0 {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(&data[0])), C.size_t(len(data))
}
