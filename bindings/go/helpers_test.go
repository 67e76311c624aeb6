// What the tests share: a tiny model, named by TESSERA_TEST_MODEL (tests/examples/write_tiny_model.cc writes it), and
// engines over it.

package tessera

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func tinyPath(t testing.TB) string {
	t.Helper()
	path := os.Getenv("TESSERA_TEST_MODEL")
	if path == "" {
		t.Skip("TESSERA_TEST_MODEL does not name a model")
	}
	return path
}

// must takes what cannot fail here.
func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newModel(t testing.TB, options ...RuntimeOption) (*Runtime, *Model) {
	t.Helper()
	path := tinyPath(t)
	r := must[*Runtime](t)(NewRuntime(options...))
	t.Cleanup(func() { r.Close() })
	m := must[*Model](t)(r.LoadFile(context.Background(), path))
	t.Cleanup(func() { m.Close() })
	return r, m
}

// newEngine has room for 64 whole sessions.
func newEngine(t testing.TB, options ...EngineOption) *Engine {
	t.Helper()
	_, m := newModel(t)
	e := must[*Engine](t)(m.NewEngine(append([]EngineOption{EngineCacheTokens(64 * 256)}, options...)...))
	t.Cleanup(func() { e.Close() })
	return e
}

const prompt = "hello, the world of"

func newSession(t testing.TB, e *Engine, options ...SessionOption) *Session {
	t.Helper()
	s := must[*Session](t)(e.NewSession(options...))
	t.Cleanup(func() { s.Close() })
	ok(t, s.AppendText(prompt, PlainText))
	return s
}

// long is what a request takes that would generate some 240 tokens, until the context is full.
func long(more ...RequestOption) []RequestOption {
	return append([]RequestOption{RequestMaxTokens(-1), RequestIgnoreEnd(true)}, more...)
}

// eventually waits for something that other goroutines or the collector bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

func threads(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("there is no /proc to count threads in")
	}
	return len(entries)
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("there is no /proc to count descriptors in")
	}
	return len(entries)
}

// goroutinesIn counts those with the text in their stacks.
func goroutinesIn(text string) int {
	buffer := make([]byte, 1<<20)
	all := string(buffer[:runtime.Stack(buffer, true)])
	count := 0
	for _, stack := range strings.Split(all, "\n\n") {
		if strings.Contains(stack, text) {
			count++
		}
	}
	return count
}
