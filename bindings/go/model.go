// Models: loading them, what they say of themselves, their tokenizer and chat template.

package tessera

// #include "callbacks.h"
// #include "hub.h"
import "C"

import (
	"context"
	"encoding/json"
	"io"
	"os"
	goruntime "runtime"
	"runtime/cgo"
	"unicode/utf8"
	"unsafe"
)

// Model is a loaded model. It is immutable; any number of engines share its weights.
type Model struct {
	ref       ref
	runtime   *Runtime
	callbacks []*callback
}

// TextFlags say how text becomes tokens and tokens text.
type TextFlags int32

// Flags for text, to be or-ed.
const (
	PlainText    TextFlags = C.TSR_TEXT_PLAIN         // "<|im_end|>" is ten characters
	ParseSpecial TextFlags = C.TSR_TEXT_PARSE_SPECIAL // special tokens in the text become those tokens, or show
	AddSpecial   TextFlags = C.TSR_TEXT_ADD_SPECIAL   // begin- and end-of-text tokens are added where the file asks
)

// load is what the ways to load share: the context in the progress callback, and causes of errors.
func (r *Runtime) load(ctx context.Context, options []ModelOption,
	call func(*C.tsr_runtime, *C.tsr_options, **C.tsr_model, **C.tsr_error) C.tsr_status, extra ...*callback) (*Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(err, "model: the load was not begun")
	}
	p, err := r.ref.enter()
	if err != nil {
		return nil, err
	}
	defer r.ref.leave()
	var settings []setting
	var progress func(uint64, uint64) error
	for _, o := range options {
		if c, ok := o.value.(*callback); ok && o.key == "model.progress" {
			progress = c.function.(func(uint64, uint64) error)
			continue
		}
		settings = append(settings, o.setting)
	}
	if progress != nil || ctx.Done() != nil {
		settings = append(settings, ModelProgress(func(done, total uint64) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress == nil {
				return nil
			}
			return progress(done, total)
		}).setting)
	}
	prepared, callbacks := prepare(settings)
	set, err := newOptions(prepared)
	if err != nil {
		return nil, err
	}
	defer C.tsr_options_release(set)
	var model *C.tsr_model
	var e *C.tsr_error
	if err := check(call((*C.tsr_runtime)(p), set, &model, &e), e); err != nil {
		return nil, because(err, failureOf(append(extra, callbacks...)))
	}
	m := &Model{runtime: r, callbacks: callbacks}
	r.ref.hold()
	m.ref = ref{what: "model", pointer: unsafe.Pointer(model), free: func(p unsafe.Pointer) {
		C.tsr_model_release((*C.tsr_model)(p))
		r.ref.leave()
	}}
	goruntime.SetFinalizer(m, func(m *Model) { m.ref.close() })
	return m, nil
}

// LoadFile loads a model from a file, which is read, not mapped. The context may end the load, about every 64 MiB.
func (r *Runtime) LoadFile(ctx context.Context, path string, options ...ModelOption) (*Model, error) {
	return r.load(ctx, options, func(runtime *C.tsr_runtime, set *C.tsr_options, model **C.tsr_model,
		e **C.tsr_error) C.tsr_status {
		text, size := bytesOf([]byte(path))
		return C.tsr_model_load_file(runtime, text, size, set, model, e)
	})
}

// LoadOpenFile loads the model that begins at offset of an open regular file; size 0: to its end.
func (r *Runtime) LoadOpenFile(ctx context.Context, file *os.File, offset, size uint64, options ...ModelOption) (
	*Model, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, &Error{Code: ErrInvalidArgument, Message: "file: it is closed", Place: "file", Cause: err}
	}
	var model *Model
	var failed error
	err = raw.Control(func(fd uintptr) {
		model, failed = r.load(ctx, options, func(runtime *C.tsr_runtime, set *C.tsr_options, model **C.tsr_model,
			e **C.tsr_error) C.tsr_status {
			return C.tsr_model_load_descriptor(runtime, C.int(fd), C.uint64_t(offset), C.uint64_t(size), set, model, e)
		})
	})
	if err != nil {
		return nil, &Error{Code: ErrIO, Message: "file: it has no descriptor", Place: "file", Cause: err}
	}
	return model, failed
}

// LoadBytes loads a model from memory, which is not touched afterwards.
func (r *Runtime) LoadBytes(ctx context.Context, data []byte, options ...ModelOption) (*Model, error) {
	return r.load(ctx, options, func(runtime *C.tsr_runtime, set *C.tsr_options, model **C.tsr_model,
		e **C.tsr_error) C.tsr_status {
		bytes, size := bytesOf(data)
		return C.tsr_model_load_memory(runtime, unsafe.Pointer(bytes), size, C.TSR_MEMORY_COPY, set, model, e)
	})
}

// LoadBorrowed loads a model from memory that is not Go's, such as a mapped file, and goes on to use it: it stays
// valid and unchanged until the model and its engines are closed.
func (r *Runtime) LoadBorrowed(ctx context.Context, data unsafe.Pointer, size uintptr, options ...ModelOption) (
	*Model, error) {
	return r.load(ctx, options, func(runtime *C.tsr_runtime, set *C.tsr_options, model **C.tsr_model,
		e **C.tsr_error) C.tsr_status {
		return C.tsr_model_load_memory(runtime, data, C.size_t(size), C.TSR_MEMORY_BORROW, set, model, e)
	})
}

// LoadReader loads a model of size bytes through the host's own reader, which is called by one goroutine at a time, or
// by as many as ModelReadThreads allows. Its error is the cause of the load's.
func (r *Runtime) LoadReader(ctx context.Context, reader io.ReaderAt, size uint64, options ...ModelOption) (
	*Model, error) {
	c := &callback{function: reader}
	return r.load(ctx, options, func(runtime *C.tsr_runtime, set *C.tsr_options, model **C.tsr_model,
		e **C.tsr_error) C.tsr_status {
		handle := C.uintptr_t(cgo.NewHandle(c))
		return C.tessera_go_load_reader(runtime, handle, C.uint64_t(size), set, model, e)
	}, c)
}

// Close drops the model; engines over it go on. It returns a panic of one of its memory callbacks, if there was one.
func (m *Model) Close() error {
	goruntime.SetFinalizer(m, nil)
	if !m.ref.close() {
		return nil
	}
	return troubleIn("model", m.callbacks)
}

// ModelInfo is what a model is.
type ModelInfo struct {
	Parameters        int64    // weights, a shared table counted once
	WeightBytes       uint64   // memory that its weights take
	BytesPerToken     uint64   // stored weight bytes that one decoded token must read
	VocabularySize    int      // token ids are 0 to VocabularySize - 1
	ContextTokens     int      // the context it was trained for
	Layers            int      // decoder layers
	HiddenSize        int      // width of the residual stream
	BOSToken          int32    // begin-of-text, -1: none
	EndToken          int32    // the token that ends a turn, -1: none
	Hash              [16]byte // of its shape and weights
	TokenizerHash     [16]byte // of its tokenizer
	Device            string   // "cpu", "reference" or a GPU's name
	DeviceUUID        string   // the GPU's, "" for others
	DeviceMemoryBytes uint64   // all memory of that GPU
}

// Info says what the model is.
func (m *Model) Info() (ModelInfo, error) {
	p, err := m.ref.enter()
	if err != nil {
		return ModelInfo{}, err
	}
	defer m.ref.leave()
	info := C.tsr_model_info{struct_size: C.sizeof_tsr_model_info}
	var e *C.tsr_error
	if err := check(C.tsr_model_get_info((*C.tsr_model)(p), &info, &e), e); err != nil {
		return ModelInfo{}, err
	}
	return ModelInfo{
		Parameters: int64(info.parameters), WeightBytes: uint64(info.weight_bytes),
		BytesPerToken: uint64(info.bytes_per_token), VocabularySize: int(info.vocabulary_size),
		ContextTokens: int(info.context_tokens), Layers: int(info.layers), HiddenSize: int(info.hidden_size),
		BOSToken: int32(info.bos_token), EndToken: int32(info.end_token),
		Hash:          *(*[16]byte)(unsafe.Pointer(&info.hash)),
		TokenizerHash: *(*[16]byte)(unsafe.Pointer(&info.tokenizer_hash)),
		Device:        C.GoString(&info.device[0]), DeviceUUID: C.GoString(&info.device_uuid[0]),
		DeviceMemoryBytes: uint64(info.device_memory_bytes),
	}, nil
}

// Tokenize turns text, which is UTF-8, into tokens.
func (m *Model) Tokenize(text string, flags TextFlags) ([]int32, error) {
	p, err := m.ref.enter()
	if err != nil {
		return nil, err
	}
	defer m.ref.leave()
	bytes, size := bytesOf([]byte(text))
	tokens := make([]int32, len(text)/2+16)
	for {
		var count C.size_t
		var e *C.tsr_error
		status := C.tsr_model_tokenize((*C.tsr_model)(p), bytes, size, C.int32_t(flags),
			(*C.int32_t)(unsafe.Pointer(&tokens[0])), C.size_t(len(tokens)), &count, &e)
		err := check(status, e)
		if status == C.TSR_STATUS_OK {
			return tokens[:count], nil
		}
		if status != C.TSR_STATUS_BUFFER_TOO_SMALL {
			return nil, err
		}
		tokens = make([]int32, count)
	}
}

// Detokenize turns tokens into exactly the bytes that they stand for. A list that was cut inside a code point gives
// text that is not UTF-8. ParseSpecial shows special tokens.
func (m *Model) Detokenize(tokens []int32, flags TextFlags) (string, error) {
	p, err := m.ref.enter()
	if err != nil {
		return "", err
	}
	defer m.ref.leave()
	var first *C.int32_t
	if len(tokens) > 0 {
		first = (*C.int32_t)(unsafe.Pointer(&tokens[0]))
	}
	return sized(func(buffer *C.char, capacity C.size_t, size *C.size_t, e **C.tsr_error) C.tsr_status {
		return C.tsr_model_detokenize((*C.tsr_model)(p), first, C.size_t(len(tokens)), C.int32_t(flags), buffer,
			capacity, size, e)
	})
}

// sized calls with a buffer that grows until it is large enough.
func sized(call func(*C.char, C.size_t, *C.size_t, **C.tsr_error) C.tsr_status) (string, error) {
	buffer := make([]byte, 1024)
	for {
		var size C.size_t
		var e *C.tsr_error
		bytes, capacity := bytesOf(buffer)
		status := call(bytes, capacity, &size, &e)
		err := check(status, e)
		if status == C.TSR_STATUS_OK {
			return string(buffer[:size]), nil
		}
		if status != C.TSR_STATUS_BUFFER_TOO_SMALL {
			return "", err
		}
		buffer = make([]byte, size)
	}
}

// Message is one turn of a conversation. Further fields that a template knows can be had by the JSON variants of the
// calls that take messages.
type Message struct {
	Role       string `json:"role"`
	Content    string `json:"content"`
	Name       string `json:"name,omitempty"`
	ToolCalls  any    `json:"tool_calls,omitempty"`
	ToolCallID string `json:"tool_call_id,omitempty"`
}

// messagesJSON refuses what json.Marshal would quietly replace.
func messagesJSON(messages []Message) ([]byte, error) {
	for _, m := range messages {
		if !utf8.ValidString(m.Role) || !utf8.ValidString(m.Content) || !utf8.ValidString(m.Name) {
			return nil, &Error{Code: ErrInvalidUTF8, Message: "messages: a message is not UTF-8", Place: "messages"}
		}
	}
	if messages == nil {
		messages = []Message{}
	}
	text, err := json.Marshal(messages)
	if err != nil {
		return nil, &Error{Code: ErrInvalidArgument, Message: "messages: no JSON", Place: "messages", Cause: err}
	}
	return text, nil
}

func chatOptions(options []ChatOption) (*C.tsr_options, error) {
	var settings []setting
	for _, o := range options {
		settings = append(settings, o.setting)
	}
	return newOptions(settings)
}

// ApplyChatTemplate gives the text that the model was trained on for a conversation, by the template in its file.
func (m *Model) ApplyChatTemplate(messages []Message, options ...ChatOption) (string, error) {
	text, err := messagesJSON(messages)
	if err != nil {
		return "", err
	}
	return m.ApplyChatTemplateJSON(text, options...)
}

// ApplyChatTemplateJSON does it for messages as a JSON array.
func (m *Model) ApplyChatTemplateJSON(messages []byte, options ...ChatOption) (string, error) {
	p, err := m.ref.enter()
	if err != nil {
		return "", err
	}
	defer m.ref.leave()
	set, err := chatOptions(options)
	if err != nil {
		return "", err
	}
	defer C.tsr_options_release(set)
	text, textSize := bytesOf(messages)
	return sized(func(buffer *C.char, capacity C.size_t, size *C.size_t, e **C.tsr_error) C.tsr_status {
		return C.tsr_model_apply_chat_template((*C.tsr_model)(p), text, textSize, set, buffer, capacity, size, e)
	})
}
