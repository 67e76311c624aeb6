// Opening and closing: use after Close, any order, beside running calls, a thousand times, and what the collector does.

package tessera

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestUseAfterCloseIsAnError(t *testing.T) {
	r, m := newModel(t)
	e := must[*Engine](t)(m.NewEngine())
	s := newSession(t, e)
	q := must[*Queue](t)(r.NewQueue())
	for i := 0; i < 2; i++ {
		ok(t, s.Close())
		ok(t, q.Close())
		ok(t, e.Close())
		ok(t, m.Close())
		ok(t, r.Close())
	}
	ctx := context.Background()
	calls := map[string]func() error{
		"load":     func() error { _, err := r.LoadBytes(ctx, nil); return err },
		"plan":     func() error { _, err := r.PlanBytes(nil); return err },
		"queue":    func() error { _, err := r.NewQueue(); return err },
		"poll":     func() error { _, err := q.Poll(0); return err },
		"wake":     func() error { return q.Wake() },
		"info":     func() error { _, err := m.Info(); return err },
		"tokenize": func() error { _, err := m.Tokenize("a", 0); return err },
		"keys":     func() error { _, err := m.MetadataKeys(); return err },
		"engine":   func() error { _, err := m.NewEngine(); return err },
		"metrics":  func() error { _, err := e.Metrics(); return err },
		"step":     func() error { _, err := e.Step(0); return err },
		"session":  func() error { _, err := e.NewSession(); return err },
		"restore":  func() error { _, err := e.Restore(nil); return err },
		"append":   func() error { return s.AppendText("a", 0) },
		"generate": func() error { _, err := s.Generate(ctx); return err },
		"fork":     func() error { _, err := s.Fork(); return err },
		"save":     func() error { _, err := s.Save(); return err },
		"count":    func() error { _, err := s.TokenCount(); return err },
		"cancel":   func() error { return s.Cancel(KeepTokens) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrClosed) || !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClosingTheParentEndsRequests(t *testing.T) {
	closers := map[string]func(*Runtime, *Engine, *Session){
		"runtime": func(r *Runtime, _ *Engine, _ *Session) { r.Close() },
		"engine":  func(_ *Runtime, e *Engine, _ *Session) { e.Close() },
		"session": func(_ *Runtime, _ *Engine, s *Session) { s.Close() },
	}
	for name, closer := range closers {
		t.Run(name, func(t *testing.T) {
			before := goroutinesIn("(*hub).run")
			r, m := newModel(t)
			e := must[*Engine](t)(m.NewEngine(EngineStepped(true)))
			s := newSession(t, e)
			request := must[*Request](t)(s.Generate(context.Background()))
			ended := make(chan error)
			go func() { _, err := request.Collect(); ended <- err }()
			closer(r, e, s)
			expected := ErrClosed
			if name == "session" {
				expected = ErrCancelled
			}
			if err := <-ended; !errors.Is(err, expected) {
				t.Fatal(err)
			}
			ok(t, e.Close())
			eventually(t, "the engine's goroutine is gone", func() bool { return goroutinesIn("(*hub).run") <= before })
		})
	}
}

func TestARequestThatNobodyReadsDoesNotHoldUpClose(t *testing.T) {
	e := newEngine(t)
	r := must[*Request](t)(newSession(t, e).Generate(context.Background(), long(RequestTopLogprobs(20), RequestWindow(1))...))
	eventually(t, "the request pauses", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.held
	})
	ok(t, e.Close())
	<-r.Done()
}

func TestClosingBesideCallsIsSound(t *testing.T) {
	_, m := newModel(t)
	for i := 0; i < 30; i++ {
		e := must[*Engine](t)(m.NewEngine(EngineCacheTokens(2048)))
		var group sync.WaitGroup
		for j := 0; j < 4; j++ {
			s := newSession(t, e)
			group.Add(2)
			go func() {
				defer group.Done()
				for {
					r, err := s.Generate(context.Background(), RequestMaxTokens(3))
					if err == nil {
						_, err = r.Collect()
					}
					if err != nil {
						if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrLimitExceeded) {
							t.Error(err)
						}
						return
					}
				}
			}()
			go func() {
				defer group.Done()
				for {
					if _, err := e.Metrics(); err != nil {
						return
					}
				}
			}()
		}
		time.Sleep(time.Duration(i) * 100 * time.Microsecond)
		group.Add(2)
		go func() { defer group.Done(); e.Close() }()
		go func() { defer group.Done(); e.Close() }()
		group.Wait()
	}
}

func TestChildrenOutliveWhatWasReleased(t *testing.T) {
	r, m := newModel(t)
	e := must[*Engine](t)(m.NewEngine())
	s := newSession(t, e)
	r.Release()
	ok(t, m.Close())
	e.Release()
	a := must[Answer](t)(must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(4), RequestIgnoreEnd(true))).Collect())
	if len(a.Tokens) != 4 {
		t.Fatal(a)
	}
	if _, err := e.NewSession(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// resident is the process's memory in KiB.
func resident(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("there is no /proc to read memory from")
	}
	fields := strings.Fields(string(text)[strings.Index(string(text), "VmRSS:"):])
	size := 0
	for _, digit := range fields[1] {
		size = size*10 + int(digit-'0')
	}
	return size
}

func TestAThousandCyclesLeaveNothing(t *testing.T) {
	path := tinyPath(t)
	cycle := func() {
		r := must[*Runtime](t)(NewRuntime(RuntimeLog(func(Level, string) {}), RuntimeThreads(1)))
		m := must[*Model](t)(r.LoadFile(context.Background(), path))
		e := must[*Engine](t)(m.NewEngine())
		s := must[*Session](t)(e.NewSession())
		ok(t, s.AppendText(prompt, PlainText))
		ctx, cancel := context.WithCancel(context.Background())
		request := must[*Request](t)(s.Generate(ctx, RequestMaxTokens(4), RequestIgnoreEnd(true)))
		if a := must[Answer](t)(request.Collect()); len(a.Tokens) != 4 {
			t.Fatal(a)
		}
		cancel()
		ok(t, s.Close())
		ok(t, e.Close())
		ok(t, m.Close())
		ok(t, r.Close())
	}
	settle := func() { runtime.GC(); runtime.GC() }
	for i := 0; i < 100; i++ {
		cycle()
	}
	settle()
	memory, files, started := resident(t), descriptors(t), threads(t)
	routines := runtime.NumGoroutine()
	for i := 0; i < 1000; i++ {
		cycle()
	}
	settle()
	eventually(t, "goroutines are back", func() bool { return runtime.NumGoroutine() <= routines })
	if now := descriptors(t); now > files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
	// Go keeps threads that it once started for C calls; a few more may come, not one a cycle.
	if now := threads(t); now > started+4 {
		t.Errorf("%d threads, %d before", now, started)
	}
	grown := resident(t) - memory
	t.Logf("memory grew by %d KiB from %d, descriptors %d, threads %d", grown, memory, files, threads(t))
	if !raceDetector && grown > 8<<10 {
		t.Errorf("memory grew by %d KiB in 1000 cycles", grown)
	}
}

func TestTheCollectorClosesWhatWasForgotten(t *testing.T) {
	path := tinyPath(t)
	files := descriptors(t)
	func() {
		for i := 0; i < 5; i++ {
			r := must[*Runtime](t)(NewRuntime())
			m := must[*Model](t)(r.LoadFile(context.Background(), path))
			e := must[*Engine](t)(m.NewEngine())
			s := must[*Session](t)(e.NewSession())
			ok(t, s.AppendText(prompt, PlainText))
			must[Answer](t)(must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(1))).Collect())
		}
	}()
	eventually(t, "all is closed", func() bool {
		runtime.GC()
		return goroutinesIn("(*hub).run") == 0 && descriptors(t) <= files
	})
}
