// How the installed library is found: by pkg-config, unless the build tag tessera_flags is set.

//go:build !tessera_flags

package tessera

// #cgo pkg-config: tessera
import "C"
