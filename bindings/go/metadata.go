// A model file's metadata.

package tessera

// #include <tessera/tessera.h>
import "C"

// MetadataKind is the type of a metadata entry's elements.
type MetadataKind int32

// The kinds of metadata.
const (
	MetadataInt    MetadataKind = C.TSR_METADATA_INT    // all integer types and booleans
	MetadataFloat  MetadataKind = C.TSR_METADATA_FLOAT  // floating-point numbers
	MetadataString MetadataKind = C.TSR_METADATA_STRING // bytes as the file has them, usually UTF-8
)

// MetadataKeys are the file's keys, in its order.
func (m *Model) MetadataKeys() ([]string, error) {
	p, err := m.ref.enter()
	if err != nil {
		return nil, err
	}
	defer m.ref.leave()
	model := (*C.tsr_model)(p)
	keys := make([]string, C.tsr_model_metadata_count(model))
	for i := range keys {
		var size C.size_t
		text := C.tsr_model_metadata_key(model, C.size_t(i), &size)
		keys[i] = C.GoStringN(text, C.int(size))
	}
	return keys, nil
}

// MetadataKind gives an entry's kind and number of elements, 1 for a scalar. ErrNotFound: there is no such key.
func (m *Model) MetadataKind(key string) (MetadataKind, int, error) {
	p, err := m.ref.enter()
	if err != nil {
		return 0, 0, err
	}
	defer m.ref.leave()
	var kind C.int32_t
	var count C.size_t
	var e *C.tsr_error
	text, size := bytesOf([]byte(key))
	err = check(C.tsr_model_metadata_kind((*C.tsr_model)(p), text, size, &kind, &count, &e), e)
	return MetadataKind(kind), int(count), err
}

// metadata reads all elements of an entry.
func metadata[T any](m *Model, key string,
	read func(*C.tsr_model, *C.char, C.size_t, C.size_t, **C.tsr_error) (T, C.tsr_status)) ([]T, error) {
	_, count, err := m.MetadataKind(key)
	if err != nil {
		return nil, err
	}
	p, err := m.ref.enter()
	if err != nil {
		return nil, err
	}
	defer m.ref.leave()
	text, size := bytesOf([]byte(key))
	values := make([]T, count)
	for i := range values {
		var e *C.tsr_error
		value, status := read((*C.tsr_model)(p), text, size, C.size_t(i), &e)
		if err := check(status, e); err != nil {
			return nil, err
		}
		values[i] = value
	}
	return values, nil
}

// MetadataInts gives the elements of an entry of kind MetadataInt.
func (m *Model) MetadataInts(key string) ([]int64, error) {
	return metadata(m, key, func(p *C.tsr_model, text *C.char, size, i C.size_t, e **C.tsr_error) (int64, C.tsr_status) {
		var value C.int64_t
		status := C.tsr_model_metadata_int(p, text, size, i, &value, e)
		return int64(value), status
	})
}

// MetadataFloats gives the elements of an entry of kind MetadataFloat.
func (m *Model) MetadataFloats(key string) ([]float64, error) {
	return metadata(m, key, func(p *C.tsr_model, text *C.char, size, i C.size_t, e **C.tsr_error) (float64, C.tsr_status) {
		var value C.double
		status := C.tsr_model_metadata_float(p, text, size, i, &value, e)
		return float64(value), status
	})
}

// MetadataStrings gives the elements of an entry of kind MetadataString.
func (m *Model) MetadataStrings(key string) ([]string, error) {
	return metadata(m, key, func(p *C.tsr_model, text *C.char, size, i C.size_t, e **C.tsr_error) (string, C.tsr_status) {
		var value *C.char
		var valueSize C.size_t
		status := C.tsr_model_metadata_string(p, text, size, i, &value, &valueSize, e)
		if status != C.TSR_STATUS_OK {
			return "", status
		}
		return C.GoStringN(value, C.int(valueSize)), status
	})
}
