// With the build tag tessera_flags the library is found by CGO_CFLAGS (-I) and CGO_LDFLAGS (-L) alone.

//go:build tessera_flags

package tessera

// #cgo LDFLAGS: -ltessera
import "C"
