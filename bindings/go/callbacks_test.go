// Callbacks: they are called, their errors are causes, and their panics end there.

package tessera

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

func asPanic(t *testing.T, err error) *PanicError {
	t.Helper()
	var p *PanicError
	if !errors.As(err, &p) || len(p.Stack) == 0 {
		t.Fatalf("no panic in %v", err)
	}
	return p
}

func TestTheLogReachesGo(t *testing.T) {
	var mu sync.Mutex
	lines := map[Level]int{}
	path := tinyPath(t)
	r := must[*Runtime](t)(NewRuntime(RuntimeLogLevel("info"), RuntimeLog(func(level Level, message string) {
		mu.Lock()
		defer mu.Unlock()
		if message != "" {
			lines[level]++
		}
	})))
	defer r.Close()
	must[*Model](t)(r.LoadFile(context.Background(), path, ModelDevice("auto"))).Close() // says what it took
	mu.Lock()
	defer mu.Unlock()
	if lines[LevelInfo] == 0 {
		t.Fatal("nothing was logged")
	}
}

func TestAPanicInTheLogIsToldByClose(t *testing.T) {
	path := tinyPath(t)
	r := must[*Runtime](t)(NewRuntime(RuntimeLogLevel("info"), RuntimeLog(func(Level, string) { panic(io.ErrNoProgress) })))
	must[*Model](t)(r.LoadFile(context.Background(), path, ModelDevice("auto"))).Close()
	err := r.Close()
	asPanic(t, err)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Fatal(err)
	}
	ok(t, r.Close())
}

func TestProgressWatchesAndEndsALoad(t *testing.T) {
	path := tinyPath(t)
	r := must[*Runtime](t)(NewRuntime())
	defer r.Close()
	ctx := context.Background()
	var last, total uint64
	option := ModelProgress(func(done, all uint64) error { last, total = done, all; return nil })
	for i := 0; i < 2; i++ { // an option serves several calls
		last = 0
		m := must[*Model](t)(r.LoadFile(ctx, path, option))
		ok(t, m.Close())
		if last == 0 || last != total {
			t.Fatal(last, total)
		}
	}
	enough := errors.New("enough")
	_, err := r.LoadFile(ctx, path, ModelProgress(func(uint64, uint64) error { return enough }))
	if !errors.Is(err, ErrCancelled) || !errors.Is(err, enough) {
		t.Fatal(err)
	}
	_, err = r.LoadFile(ctx, path, ModelProgress(func(uint64, uint64) error { panic("boom") }))
	if p := asPanic(t, err); p.Value != "boom" || !errors.Is(err, ErrCancelled) {
		t.Fatal(err)
	}
	ending, cancel := context.WithCancel(ctx)
	_, err = r.LoadFile(ending, path, ModelProgress(func(uint64, uint64) error { cancel(); return ending.Err() }))
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

type reader struct {
	io.ReaderAt
	fail func() (int, error)
}

func (r reader) ReadAt(data []byte, offset int64) (int, error) {
	if r.fail != nil && offset > 1000 {
		return r.fail()
	}
	return r.ReaderAt.ReadAt(data, offset)
}

func TestAReaderOfTheHosts(t *testing.T) {
	data := must[[]byte](t)(os.ReadFile(tinyPath(t)))
	r := must[*Runtime](t)(NewRuntime())
	defer r.Close()
	ctx, size := context.Background(), uint64(len(data))
	m := must[*Model](t)(r.LoadReader(ctx, reader{bytes.NewReader(data), nil}, size, ModelReadThreads(4), ModelLoadThreads(4)))
	ok(t, m.Close())
	must[Plan](t)(r.PlanReader(bytes.NewReader(data), size))
	_, err := r.LoadReader(ctx, reader{bytes.NewReader(data), func() (int, error) { return 0, io.ErrClosedPipe }}, size)
	if !errors.Is(err, io.ErrClosedPipe) || !errors.Is(err, ErrIO) {
		t.Fatal(err)
	}
	_, err = r.LoadReader(ctx, reader{bytes.NewReader(data), func() (int, error) { return 3, nil }}, size)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, ErrIO) {
		t.Fatal(err)
	}
	_, err = r.LoadReader(ctx, reader{bytes.NewReader(data), func() (int, error) { panic("disk") }}, size)
	if p := asPanic(t, err); p.Value != "disk" || !errors.Is(err, ErrIO) {
		t.Fatal(err)
	}
}

func TestClosingInACallbackIsRefused(t *testing.T) {
	path := tinyPath(t)
	r := must[*Runtime](t)(NewRuntime())
	var engine *Engine
	var inner []error
	m := must[*Model](t)(r.LoadFile(context.Background(), path))
	engine = must[*Engine](t)(m.NewEngine())
	must[*Model](t)(r.LoadFile(context.Background(), path, ModelProgress(func(uint64, uint64) error {
		inner = append(inner, engine.Close(), r.Close())
		return nil
	})))
	for _, err := range inner {
		if !errors.Is(err, ErrWrongState) {
			t.Fatal(inner)
		}
	}
	if len(inner) < 2 {
		t.Fatal(inner)
	}
	must[Metrics](t)(engine.Metrics()) // both are open still
	ok(t, r.Close())
}

func TestAQueueTellsWhenItIsReady(t *testing.T) {
	r, m := newModel(t)
	e := must[*Engine](t)(m.NewEngine())
	ready := make(chan struct{}, 1)
	q := must[*Queue](t)(r.NewQueue(QueueOnReady(func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	})))
	defer q.Close()
	s := newSession(t, e)
	must[uint64](t)(s.Submit(q, 7, RequestMaxTokens(5), RequestIgnoreEnd(true)))
	tokens := 0
	for ended := false; !ended; {
		<-ready
		for _, event := range must[[]Event](t)(q.Poll(0)) {
			if event.Tag != 7 || event.Err != nil {
				t.Fatal(event)
			}
			tokens += len(event.Chunk.Tokens)
			ended = event.Result.Reason == ReasonLength
		}
	}
	if tokens != 5 {
		t.Fatal(tokens)
	}
	broken := must[*Queue](t)(r.NewQueue(QueueOnReady(func() { panic("ready") })))
	defer broken.Close()
	ok(t, broken.Wake())
	_, err := broken.Poll(0)
	asPanic(t, err)
}

func TestARendezvousThatFailsIsTheCause(t *testing.T) {
	_, m := newModel(t)
	nobody := errors.New("nobody came")
	ranks := []EngineOption{EngineTensorParallel(2), EngineRankTimeout(1e8)}
	_, err := m.NewEngine(append(ranks, EngineRendezvous(func(string, uint64, []byte, []byte, time.Duration) error {
		return nobody
	}))...)
	if !errors.Is(err, nobody) {
		t.Fatal(err)
	}
}
