// Requests: every way to take an answer, contexts, backpressure, and what waiting costs.

package tessera

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEveryWayToTakeAnAnswerGivesTheSame(t *testing.T) {
	e := newEngine(t)
	generate := func() *Request {
		return must[*Request](t)(newSession(t, e).Generate(context.Background(), long()...))
	}
	whole := must[Answer](t)(generate().Collect())
	if whole.Reason != ReasonContext || len(whole.Tokens) < 200 || whole.GeneratedTokens != len(whole.Tokens) {
		t.Fatalf("reason %v, %d tokens, %d generated", whole.Reason, len(whole.Tokens), whole.GeneratedTokens)
	}
	ways := map[string]func(*Request, func(Chunk)) error{
		"Next": func(r *Request, take func(Chunk)) error {
			for {
				c, err := r.Next()
				if err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				take(c)
			}
		},
		"ForEach": func(r *Request, take func(Chunk)) error {
			return r.ForEach(func(c Chunk) bool { take(c); return true })
		},
		"All": func(r *Request, take func(Chunk)) error {
			r.All()(func(c Chunk) bool { take(c); return true })
			return r.Err()
		},
		"Stream": func(r *Request, take func(Chunk)) error {
			for c := range r.Stream() {
				take(c)
			}
			return r.Err()
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			var tokens []int32
			r := generate()
			ok(t, way(r, func(c Chunk) { text.WriteString(c.Text); tokens = append(tokens, c.Tokens...) }))
			if text.String() != whole.Text || !reflect.DeepEqual(tokens, whole.Tokens) {
				t.Fatalf("%d tokens, %q", len(tokens), text.String())
			}
			if r.Result().Reason != ReasonContext {
				t.Fatal(r.Result())
			}
		})
	}
}

func TestAContextCancelsItsRequestAlone(t *testing.T) {
	e := newEngine(t, EngineStepped(true))
	ctx, cancel := context.WithCancel(context.Background())
	one := must[*Request](t)(newSession(t, e).Generate(ctx, long()...))
	two := must[*Request](t)(newSession(t, e).Generate(context.Background(), RequestMaxTokens(3), RequestIgnoreEnd(true)))
	cancel()
	_, err := one.Collect()
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCancelled) || one.Result().Reason != ReasonCancelled {
		t.Fatal(err, one.Result())
	}
	go func() {
		for {
			if stats, err := e.Step(-1); err != nil || !stats.WorkLeft {
				return
			}
		}
	}()
	if answer := must[Answer](t)(two.Collect()); len(answer.Tokens) != 3 {
		t.Fatal(answer)
	}
}

func TestACancelThatComesLateLeavesTheNextRequestAlone(t *testing.T) {
	e := newEngine(t)
	s := newSession(t, e)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := must[*Request](t)(s.Generate(ctx, RequestMaxTokens(2), RequestIgnoreEnd(true)))
	must[Answer](t)(first.Collect())
	second := must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(100), RequestIgnoreEnd(true), RequestWindow(1)))
	ok(t, first.Cancel(DropTokens))
	ok(t, first.Close())
	if answer := must[Answer](t)(second.Collect()); len(answer.Tokens) != 100 {
		t.Fatal(len(answer.Tokens))
	}
}

func TestADeadlineEndsARequestHoweverItIsGiven(t *testing.T) {
	e := newEngine(t, EngineStepped(true)) // nobody steps: the time passes
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	r := must[*Request](t)(newSession(t, e).Generate(ctx))
	if _, err := r.Collect(); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrDeadlineExceeded) ||
		r.Result().Reason != ReasonDeadline {
		t.Fatal(err, r.Result())
	}
	threaded := newEngine(t)
	r = must[*Request](t)(newSession(t, threaded).Generate(context.Background(), long(RequestDeadline(1))...))
	if _, err := r.Collect(); !errors.Is(err, context.DeadlineExceeded) || r.Result().Reason != ReasonDeadline {
		t.Fatal(err, r.Result())
	}
	ended, stop := context.WithCancel(context.Background())
	stop()
	if _, err := newSession(t, threaded).Generate(ended); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCancelled) {
		t.Fatal(err)
	}
}

func TestACancelDropsOrKeepsWhatWasGenerated(t *testing.T) {
	e := newEngine(t, EngineStepped(true))
	for _, effect := range []CancelEffect{KeepTokens, DropTokens} {
		s := newSession(t, e)
		before := must[int](t)(s.TokenCount())
		r := must[*Request](t)(s.Generate(context.Background(), long()...))
		for i := 0; i < 5; i++ {
			must[StepStats](t)(e.Step(-1))
		}
		ok(t, r.Cancel(effect))
		_, err := r.Collect()
		if !errors.Is(err, ErrCancelled) || errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		must[StepStats](t)(e.Step(-1))
		after := must[int](t)(s.TokenCount())
		if kept := after > before; kept != (effect == KeepTokens) {
			t.Fatalf("effect %v: %d tokens before, %d after", effect, before, after)
		}
	}
}

// The engine's loop has nothing left to do while nobody takes the chunks of one request; another one is not held up.
func TestARequestThatIsNotReadPausesAndHoldsNobodyUp(t *testing.T) {
	e := newEngine(t, EngineStepped(true))
	idle := func() bool { return !must[StepStats](t)(e.Step(-1)).WorkLeft }
	s := newSession(t, e)
	// Log-probabilities make records large, so that the library's own buffer is small against the answer.
	slow := must[*Request](t)(s.Generate(context.Background(), long(RequestTopLogprobs(20), RequestWindow(4))...))
	held := func() bool {
		slow.mu.Lock()
		defer slow.mu.Unlock()
		return slow.held
	}
	eventually(t, "the slow request pauses", func() bool { return idle() && held() })
	paused := must[int](t)(s.TokenCount())
	if paused > 200 {
		t.Fatalf("%d tokens are there: it did not pause", paused)
	}
	slow.mu.Lock()
	waiting := len(slow.chunks)
	slow.mu.Unlock()
	if waiting > 150 {
		t.Fatalf("%d chunks wait in Go", waiting)
	}
	quick := must[*Request](t)(newSession(t, e).Generate(context.Background(), RequestMaxTokens(50), RequestIgnoreEnd(true)))
	answers := make(chan Answer, 2)
	take := func(r *Request) {
		a, err := r.Collect()
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}
	go take(quick)
	eventually(t, "the quick one is answered", func() bool { idle(); return len(answers) == 1 })
	if a := <-answers; len(a.Tokens) != 50 {
		t.Fatal(len(a.Tokens))
	}
	if now := must[int](t)(s.TokenCount()); now != paused {
		t.Fatalf("the slow one went on from %d to %d tokens", paused, now)
	}
	go take(slow)
	eventually(t, "the slow one is answered", func() bool { idle(); return len(answers) == 1 })
	if a := <-answers; a.Reason != ReasonContext || len(a.Tokens) < 200 || len(a.Top) != len(a.Tokens) {
		t.Fatal(a.Reason, len(a.Tokens))
	}
}

func TestWhoStopsReadingCancels(t *testing.T) {
	e := newEngine(t)
	r := must[*Request](t)(newSession(t, e).Generate(context.Background(), long(RequestWindow(1))...))
	ok(t, r.ForEach(func(Chunk) bool { return false }))
	<-r.Done()
	if !errors.Is(r.Err(), ErrCancelled) && r.Err() != nil {
		t.Fatal(r.Err())
	}
	ctx, cancel := context.WithCancel(context.Background())
	r = must[*Request](t)(newSession(t, e).Generate(ctx, long(RequestWindow(1))...))
	stream := r.Stream()
	<-stream
	cancel()
	<-r.Done()
	for range stream {
	}
	if !errors.Is(r.Err(), context.Canceled) {
		t.Fatal(r.Err())
	}
	r = must[*Request](t)(newSession(t, e).Generate(context.Background(), long(RequestWindow(1))...))
	stream = r.Stream()
	ok(t, r.Close())
	ok(t, r.Close())
	for range stream {
	}
	eventually(t, "no goroutine is left that streams", func() bool { return goroutinesIn("Stream.func1") == 0 })
}

func TestAPanicInTheConsumerCancelsAndPasses(t *testing.T) {
	e := newEngine(t)
	r := must[*Request](t)(newSession(t, e).Generate(context.Background(), long(RequestWindow(1))...))
	func() {
		defer func() {
			if recover() != "enough" {
				t.Error("the panic did not pass")
			}
		}()
		r.ForEach(func(Chunk) bool { panic("enough") })
	}()
	<-r.Done()
}

func TestWaitingRequestsHoldNoThreads(t *testing.T) {
	e := newEngine(t, EngineStepped(true)) // nobody steps, so all of them wait
	const count = 100
	before := threads(t)
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for i := 0; i < count; i++ {
		r := must[*Request](t)(newSession(t, e).Generate(ctx))
		group.Add(1)
		go func() { defer group.Done(); r.Collect() }()
	}
	eventually(t, "all wait", func() bool { return goroutinesIn("(*Request).Next") >= count })
	if grown := threads(t) - before; grown > 16 {
		t.Fatalf("%d waiting requests took %d threads", count, grown)
	}
	cancel()
	group.Wait()
}

func TestSixtyFourSessionsAtOnceGiveWhatEachGivesAlone(t *testing.T) {
	e := newEngine(t)
	run := func(i int) Answer {
		s := must[*Session](t)(e.NewSession())
		defer s.Close()
		ok(t, s.AppendText(fmt.Sprintf("%s %d", prompt, i), PlainText))
		r := must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(60), RequestIgnoreEnd(true),
			SamplingTemperature(1), SamplingSeed(int64(i)), RequestWindow(1+i%5)))
		return must[Answer](t)(r.Collect())
	}
	var alone, together [64]Answer
	for i := range alone {
		alone[i] = run(i)
	}
	var group sync.WaitGroup
	for i := range together {
		group.Add(1)
		go func(i int) { defer group.Done(); together[i] = run(i) }(i)
	}
	group.Wait()
	for i := range alone {
		if len(alone[i].Tokens) != 60 || !reflect.DeepEqual(alone[i].Chunk, together[i].Chunk) {
			t.Fatalf("session %d: %v alone, %v together", i, alone[i].Tokens, together[i].Tokens)
		}
	}
}

func TestLogProbabilitiesAreThoseOfTheChosenTokens(t *testing.T) {
	e := newEngine(t)
	s := newSession(t, e, SessionLogits(true))
	r := must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(8), RequestIgnoreEnd(true), RequestTopLogprobs(3)))
	a := must[Answer](t)(r.Collect())
	if len(a.Logprobs) != 8 || len(a.Top) != 8 {
		t.Fatal(a)
	}
	for i, top := range a.Top { // greedy: the chosen one is the most probable
		if len(top) != 3 || top[0].Token != a.Tokens[i] || top[0].Logprob != a.Logprobs[i] || top[1].Logprob > top[0].Logprob {
			t.Fatal(i, top, a.Tokens[i], a.Logprobs[i])
		}
	}
	logits := must[[]float32](t)(s.Logits())
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v))
	}
	expected := float64(logits[a.LastToken]) - math.Log(sum)
	if math.Abs(expected-float64(a.Logprobs[7])) > 1e-3 {
		t.Fatalf("%v, from logits %v", a.Logprobs[7], expected)
	}
}

func TestStopsEndARequest(t *testing.T) {
	e := newEngine(t)
	whole := must[Answer](t)(must[*Request](t)(newSession(t, e).Generate(context.Background(), RequestMaxTokens(20),
		RequestIgnoreEnd(true))).Collect())
	stop := string([]rune(whole.Text)[4:7])
	stopped := must[Answer](t)(must[*Request](t)(newSession(t, e).Generate(context.Background(), RequestMaxTokens(20),
		RequestIgnoreEnd(true), RequestStop("no such text", stop))).Collect())
	if stopped.Reason != ReasonStop || stopped.Text != whole.Text[:strings.Index(whole.Text, stop)] {
		t.Fatalf("%v, %q of %q", stopped.Reason, stopped.Text, whole.Text)
	}
	stopped = must[Answer](t)(must[*Request](t)(newSession(t, e).Generate(context.Background(), RequestMaxTokens(20),
		RequestIgnoreEnd(true), RequestStopTokens(int64(whole.Tokens[0])))).Collect())
	if stopped.Reason != ReasonStop || stopped.Text != "" {
		t.Fatal(stopped)
	}
	biased := must[Answer](t)(must[*Request](t)(newSession(t, e).Generate(context.Background(), RequestMaxTokens(2),
		RequestIgnoreEnd(true), SamplingLogitBiasTokens(100), SamplingLogitBiasValues(1e6))).Collect())
	if biased.Tokens[0] != 100 || biased.Tokens[1] != 100 {
		t.Fatal(biased)
	}
}
