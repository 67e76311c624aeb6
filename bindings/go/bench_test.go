// Measures: what one poll crossing costs with 64 sessions active, against the same requests on one shared queue, and
// tokens a second. Run: go test -run '^$' -bench . (TESSERA_MODEL_SMOLLM2 for a real model, else the tiny one)

package tessera

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"
)

const benchSessions = 64

// BenchmarkPollCrossing steps 64 sessions by one token each and measures alone the crossing that fetches the 64
// events, parses them and hands them to their requests. The goroutine that does it otherwise is stopped.
func BenchmarkPollCrossing(b *testing.B) {
	e := newEngine(b, EngineStepped(true), EngineThreads(1))
	e.hub.mu.Lock()
	e.hub.stopping = true
	e.hub.mu.Unlock()
	e.hub.ring()
	<-e.hub.done
	e.hub.mu.Lock()
	e.hub.stopping = false // again, so that requests are accepted; `drain` is called below
	e.hub.mu.Unlock()
	b.Cleanup(func() {
		e.ref.close() // without its goroutine nothing more can be waited for
		e.hub.bell.Close()
	})
	b.ReportAllocs()
	b.ResetTimer()
	var requests []*Request
	events := 0
	for i := 0; i < b.N; i++ {
		b.StopTimer()
		if i%200 == 0 {
			for _, r := range requests {
				r.session.Close()
			}
			for e.hub.drain() {
			}
			requests = nil
			for j := 0; j < benchSessions; j++ {
				s := must[*Session](b)(e.NewSession())
				ok(b, s.AppendText("a", PlainText))
				requests = append(requests, must[*Request](b)(s.Generate(context.Background(), long(RequestWindow(1<<20))...)))
			}
		}
		for _, r := range requests {
			r.mu.Lock()
			events += len(r.chunks)
			r.chunks = r.chunks[:0]
			r.mu.Unlock()
		}
		must[StepStats](b)(e.Step(-1))
		b.StartTimer()
		for e.hub.drain() {
		}
	}
	b.ReportMetric(float64(events)/float64(b.N), "events/op") // of a bit fewer steps than N
}

// BenchmarkSharedQueue measures Poll of one queue that 64 sessions post to.
func BenchmarkSharedQueue(b *testing.B) {
	r, m := newModel(b)
	e := must[*Engine](b)(m.NewEngine(EngineStepped(true), EngineThreads(1), EngineCacheTokens(64*256)))
	defer e.Close()
	q := must[*Queue](b)(r.NewQueue())
	defer q.Close()
	b.ReportAllocs()
	b.ResetTimer()
	var sessions []*Session
	for i := 0; i < b.N; i++ {
		b.StopTimer()
		if i%200 == 0 {
			for _, s := range sessions {
				s.Close()
			}
			sessions = nil
			must[[]Event](b)(q.Poll(0))
			for j := 0; j < benchSessions; j++ {
				s := must[*Session](b)(e.NewSession())
				ok(b, s.AppendText("a", PlainText))
				must[uint64](b)(s.Submit(q, uint64(j), long()...))
				sessions = append(sessions, s)
			}
		}
		must[StepStats](b)(e.Step(-1))
		b.StartTimer()
		for got := 0; got < benchSessions; {
			events := must[[]Event](b)(q.Poll(0))
			got += len(events)
			if len(events) == 0 {
				break
			}
		}
	}
}

// benchmarkTokens generates 64 tokens for each of the sessions at once.
func benchmarkTokens(b *testing.B, sessions int) {
	path := os.Getenv("TESSERA_MODEL_SMOLLM2")
	if path == "" {
		path = tinyPath(b)
	}
	r := must[*Runtime](b)(NewRuntime())
	defer r.Close()
	m := must[*Model](b)(r.LoadFile(context.Background(), path))
	defer m.Close()
	e := must[*Engine](b)(m.NewEngine(EngineContextTokens(256), EngineCacheTokens(64*256)))
	defer e.Close()
	b.ResetTimer()
	start := time.Now()
	for i := 0; i < b.N; i++ {
		var group sync.WaitGroup
		for j := 0; j < sessions; j++ {
			s := must[*Session](b)(e.NewSession())
			ok(b, s.AppendText(prompt, PlainText))
			request := must[*Request](b)(s.Generate(context.Background(), RequestMaxTokens(64), RequestIgnoreEnd(true)))
			group.Add(1)
			go func() { defer group.Done(); request.Collect(); s.Close() }()
		}
		group.Wait()
	}
	b.ReportMetric(float64(b.N*sessions*64)/time.Since(start).Seconds(), "tokens/s")
}

func BenchmarkTokensOfOneSession(b *testing.B) { benchmarkTokens(b, 1) }
func BenchmarkTokensOf64Sessions(b *testing.B) { benchmarkTokens(b, benchSessions) }
