// Runs the list of scenarios that every binding runs (tests/conformance), through this package alone.
// TESSERA_CONFORMANCE is the list, TESSERA_CONFORMANCE_MODELS the folder with its models.

package tessera

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const patience = 100 * time.Second

type step map[string]any

func (s step) text(name string) string { text, _ := s[name].(string); return text }

func (s step) integer(name string) int64 {
	number, _ := s[name].(json.Number)
	value, _ := number.Int64()
	return value
}

func (s step) tokens() []int32 {
	tokens := []int32{}
	for _, t := range s["tokens"].([]any) {
		value, _ := t.(json.Number).Int64()
		tokens = append(tokens, int32(value))
	}
	return tokens
}

func (s step) flags() TextFlags {
	flags := PlainText
	list, _ := s["flags"].([]any)
	for _, f := range list {
		flags |= map[string]TextFlags{"PARSE_SPECIAL": ParseSpecial, "ADD_SPECIAL": AddSpecial}[f.(string)]
	}
	return flags
}

func listOf[T any](value any, of func(any) T) []T {
	list := []T{}
	for _, v := range value.([]any) {
		list = append(list, of(v))
	}
	return list
}

func toInt(v any) int64     { n, _ := v.(json.Number).Int64(); return n }
func toFloat(v any) float64 { f, _ := v.(json.Number).Float64(); return f }
func toString(v any) string { return v.(string) }

// scenario is the world of one scenario.
type scenario struct {
	folder, beside string
	runtimes       map[string]*Runtime
	models         map[string]*Model
	engines        map[string]*Engine
	queues         map[string]*Queue
	sessions       map[string]*Session
	states         map[string][]byte
	mu             sync.Mutex
	calls          map[string]int
}

func (w *scenario) watched(key string) {
	w.mu.Lock()
	w.calls[key]++
	w.mu.Unlock()
}

func (w *scenario) callback(key, kind string) any {
	switch key {
	case "runtime.log":
		return RuntimeLog(func(Level, string) { w.watched(key) }).value
	case "queue.on_ready":
		return QueueOnReady(func() { w.watched(key) }).value
	}
	return ModelProgress(func(uint64, uint64) error {
		w.watched(key)
		if kind == "stop" {
			return errors.New("stop")
		}
		return nil
	}).value
}

func options[O RuntimeOption | ModelOption | EngineOption | PlanOption | SessionOption | StateOption | ChatOption |
	QueueOption | RequestOption](w *scenario, s step) []O {
	var made []O
	list, _ := s["options"].([]any)
	for _, entry := range list {
		e := entry.([]any)
		kind, key, value := e[0].(string), e[1].(string), e[2]
		var converted any
		switch kind {
		case "int":
			converted = toInt(value)
		case "float":
			converted = toFloat(value)
		case "bool", "string":
			converted = value
		case "ints":
			converted = listOf(value, toInt)
		case "floats":
			converted = listOf(value, toFloat)
		case "strings":
			converted = listOf(value, toString)
		case "callbacks":
			converted = w.callback(key, value.(string))
		}
		made = append(made, Setting[O](key, converted))
	}
	return made
}

func (w *scenario) path(file string) string {
	inside := filepath.Join(w.folder, file)
	if _, err := os.Stat(inside); err == nil {
		return inside
	}
	if beside := filepath.Join(w.beside, file); file == "saved.state" {
		return beside
	}
	return inside
}

func (w *scenario) load(s step) (*Model, error) {
	runtime, path, opts := w.runtimes[s.text("runtime")], w.path(s.text("file")), options[ModelOption](w, s)
	ctx := context.Background()
	switch s.text("from") {
	case "descriptor":
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return runtime.LoadOpenFile(ctx, file, 0, 0, opts...)
	case "memory", "reader":
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if s.text("from") == "memory" {
			return runtime.LoadBytes(ctx, data, opts...)
		}
		return runtime.LoadReader(ctx, bytes.NewReader(data), uint64(len(data)), opts...)
	}
	return runtime.LoadFile(ctx, path, opts...)
}

type values = map[string]any

func keep[T any](all map[string]T, s step, made T, err error) (values, error) {
	if err == nil {
		all[s.text("as")] = made
	}
	return nil, err
}

func statusOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code.String()
	}
	return "TSR_STATUS_OK"
}

// answers are what came for each tag.
type answers map[int64]values

func (a answers) add(events []Event) error {
	for _, event := range events {
		answer := a[int64(event.Tag)]
		if answer == nil {
			answer = values{"tag": int64(event.Tag), "tokens": []int32{}, "text": ""}
			a[int64(event.Tag)] = answer
		}
		if answer["reason"] != nil {
			return fmt.Errorf("an event of %d after the last one", event.Tag)
		}
		if r := event.Result; r.Reason != Running {
			answer["reason"] = "TSR_FINISH_" + strings.ToUpper(r.Reason.String())
			answer["status"] = statusOf(event.Err)
			answer["prompt_tokens"], answer["generated_tokens"] = r.PromptTokens, r.GeneratedTokens
			answer["last_token"] = r.LastToken
			continue
		}
		answer["tokens"] = append(answer["tokens"].([]int32), event.Chunk.Tokens...)
		answer["text"] = answer["text"].(string) + event.Chunk.Text
		if event.Chunk.Logprobs == nil {
			continue
		}
		logprobs, _ := answer["logprobs"].([]float32)
		answer["logprobs"] = append(logprobs, event.Chunk.Logprobs...)
		for _, alternatives := range event.Chunk.Top {
			if alternatives == nil {
				continue
			}
			pairs := [][]any{}
			for _, p := range alternatives {
				pairs = append(pairs, []any{p.Token, p.Logprob})
			}
			top, _ := answer["top"].([][][]any)
			answer["top"] = append(top, pairs)
		}
	}
	return nil
}

func (a answers) list(without any) values {
	tags := []int64{}
	for tag, answer := range a {
		tags = append(tags, tag)
		names, _ := without.([]any)
		for _, name := range names {
			delete(answer, name.(string))
		}
	}
	sort.Slice(tags, func(i, j int) bool { return tags[i] < tags[j] })
	list := []values{}
	for _, tag := range tags {
		list = append(list, a[tag])
	}
	return values{"answers": list}
}

func (w *scenario) wait(s step) (values, error) {
	got := answers{}
	for {
		ended := int64(0)
		for _, answer := range got {
			if answer["reason"] != nil {
				ended++
			}
		}
		if ended >= s.integer("finished") {
			return got.list(s["without"]), nil
		}
		events, err := w.queues[s.text("queue")].Wait(w.engines[s.text("engine")], patience)
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			return nil, errors.New("no event came")
		}
		if err := got.add(events); err != nil {
			return nil, err
		}
	}
}

func (w *scenario) poll(s step) (values, error) {
	got := answers{}
	for {
		events, err := w.queues[s.text("queue")].Poll(0)
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			return got.list(nil), nil
		}
		if err := got.add(events); err != nil {
			return nil, err
		}
	}
}

// pollTogether polls from two goroutines until one is refused.
func (w *scenario) pollTogether(s step) (values, error) {
	queue := w.queues[s.text("queue")]
	var refused atomic.Value
	poll := func(timeout time.Duration) {
		if _, err := queue.Poll(timeout); err != nil {
			refused.Store(err)
		}
	}
	for refused.Load() == nil {
		done := make(chan struct{})
		go func() { poll(patience); close(done) }()
		for over := false; !over && refused.Load() == nil; {
			select {
			case <-done:
				over = true
			default:
				poll(0)
			}
		}
		queue.Wake()
		<-done
		poll(0)
	}
	return nil, refused.Load().(error)
}

func (w *scenario) metadata(s step) (values, error) {
	model, key := w.models[s.text("model")], s.text("key")
	kind, count, err := model.MetadataKind(key)
	if err != nil {
		return nil, err
	}
	var all any
	switch kind {
	case MetadataInt:
		all, err = model.MetadataInts(key)
	case MetadataFloat:
		all, err = model.MetadataFloats(key)
	default:
		all, err = model.MetadataStrings(key)
	}
	if err != nil {
		return nil, err
	}
	list := reflect.ValueOf(all)
	if list.Len() > 8 {
		list = list.Slice(0, 8)
	}
	return values{"count": count, "first": list.Interface()}, nil
}

func (w *scenario) release(name string) {
	if o := w.runtimes[name]; o != nil {
		o.Release()
	}
	if o := w.models[name]; o != nil {
		o.Close()
	}
	if o := w.engines[name]; o != nil {
		o.Release()
	}
	if o := w.queues[name]; o != nil {
		o.Close()
	}
	if o := w.sessions[name]; o != nil {
		o.Close()
	}
}

func (w *scenario) end() {
	for _, o := range w.runtimes {
		o.Close()
	}
	for _, o := range w.models {
		o.Close()
	}
	for _, o := range w.engines {
		o.Close()
	}
	for _, o := range w.sessions {
		o.Close()
	}
	for _, o := range w.queues {
		o.Close()
	}
}

func (w *scenario) run(s step) (values, error) {
	session, engine, model := w.sessions[s.text("session")], w.engines[s.text("engine")], w.models[s.text("model")]
	switch s.text("do") {
	case "runtime":
		made, err := NewRuntime(options[RuntimeOption](w, s)...)
		return keep(w.runtimes, s, made, err)
	case "load":
		made, err := w.load(s)
		return keep(w.models, s, made, err)
	case "engine":
		made, err := model.NewEngine(options[EngineOption](w, s)...)
		return keep(w.engines, s, made, err)
	case "queue":
		made, err := w.runtimes[s.text("runtime")].NewQueue(options[QueueOption](w, s)...)
		return keep(w.queues, s, made, err)
	case "session":
		made, err := engine.NewSession(options[SessionOption](w, s)...)
		return keep(w.sessions, s, made, err)
	case "fork":
		made, err := session.Fork(options[SessionOption](w, s)...)
		return keep(w.sessions, s, made, err)
	case "close":
		if o := w.runtimes[s.text("name")]; o != nil {
			return nil, o.Close()
		}
		return nil, w.engines[s.text("name")].Close()
	case "release":
		w.release(s.text("name"))
		return nil, nil
	case "model_info":
		info, err := model.Info()
		return values{"parameters": info.Parameters, "vocabulary_size": info.VocabularySize,
			"context_tokens": info.ContextTokens, "layers": info.Layers, "hidden_size": info.HiddenSize,
			"bos_token": info.BOSToken, "end_token": info.EndToken, "hash": hex.EncodeToString(info.Hash[:]),
			"tokenizer_hash": hex.EncodeToString(info.TokenizerHash[:]), "device": info.Device}, err
	case "metadata":
		return w.metadata(s)
	case "tokenize":
		tokens, err := model.Tokenize(s.text("text"), s.flags())
		return values{"tokens": tokens}, err
	case "detokenize":
		text, err := model.Detokenize(s.tokens(), s.flags())
		return values{"text": text}, err
	case "chat_template":
		messages, _ := json.Marshal(s["messages"])
		text, err := model.ApplyChatTemplateJSON(messages, options[ChatOption](w, s)...)
		return values{"text": text}, err
	case "append_text":
		text := s.text("text")
		if s["bytes"] != nil {
			data, _ := hex.DecodeString(s.text("bytes"))
			text = string(data)
		}
		return nil, session.AppendText(text, s.flags())
	case "append_tokens":
		return nil, session.AppendTokens(s.tokens())
	case "append_chat":
		messages, _ := json.Marshal(s["messages"])
		return nil, session.AppendChatJSON(messages, options[ChatOption](w, s)...)
	case "generate":
		_, err := session.Submit(w.queues[s.text("queue")], uint64(s.integer("tag")), options[RequestOption](w, s)...)
		return nil, err
	case "wait":
		return w.wait(s)
	case "poll":
		return w.poll(s)
	case "poll_together":
		return w.pollTogether(s)
	case "wake":
		return nil, w.queues[s.text("queue")].Wake()
	case "step":
		times := s.integer("times")
		if times == 0 {
			times = 1
		}
		var stats StepStats
		for ; times > 0; times-- {
			var err error
			if stats, err = engine.Step(-1); err != nil {
				return nil, err
			}
		}
		left := 0
		if stats.WorkLeft {
			left = 1
		}
		return values{"work_left": left}, nil
	case "step_until_idle":
		for {
			stats, err := engine.Step(-1)
			if err != nil || !stats.WorkLeft {
				return nil, err
			}
		}
	case "cancel":
		effect := map[string]CancelEffect{"KEEP": KeepTokens, "DROP": DropTokens}[s.text("effect")]
		return nil, session.Cancel(effect)
	case "rewind":
		return nil, session.Rewind(int(s.integer("count")))
	case "park":
		return nil, session.Park()
	case "tokens":
		tokens, err := session.Tokens()
		if tokens == nil {
			tokens = []int32{}
		}
		return values{"tokens": tokens}, err
	case "token_count":
		count, err := session.TokenCount()
		return values{"count": count}, err
	case "logits":
		logits, err := session.Logits()
		if err != nil {
			return nil, err
		}
		largest := 0
		for i, v := range logits {
			if v > logits[largest] {
				largest = i
			}
		}
		return values{"count": len(logits), "largest": largest, "first": logits[:8]}, nil
	case "save":
		state, err := session.Save(options[StateOption](w, s)...)
		if err == nil {
			w.states[s.text("as")] = state
		}
		return values{"size": len(state)}, err
	case "read_state":
		state, err := os.ReadFile(w.path(s.text("file")))
		w.states[s.text("as")] = state
		return nil, err
	case "same_state":
		return values{"same": bytes.Equal(w.states[s.text("one")], w.states[s.text("two")])}, nil
	case "damage_state":
		state := append([]byte(nil), w.states[s.text("state")]...)
		state[s.integer("at")] ^= 1
		w.states[s.text("as")] = state
		return nil, nil
	case "probe":
		info, err := ProbeState(w.states[s.text("state")])
		complete := 0
		if info.Complete {
			complete = 1
		}
		return values{"size_bytes": info.SizeBytes, "token_count": info.TokenCount, "cached_tokens": info.CachedTokens,
			"version": info.Version, "cache_type": info.CacheType, "complete": complete}, err
	case "restore":
		var opts []RestoreOption
		for _, o := range options[SessionOption](w, s) {
			opts = append(opts, o)
		}
		made, err := engine.Restore(w.states[s.text("state")], opts...)
		return keep(w.sessions, s, made, err)
	case "watched":
		w.mu.Lock()
		defer w.mu.Unlock()
		return values{"called": w.calls[s.text("key")] > 0}, nil
	}
	return nil, fmt.Errorf("no such step as %q", s.text("do"))
}

// same compares what came with what the list expects; numbers with a point only about.
func same(expected, got any, tolerance float64) bool {
	switch e := expected.(type) {
	case json.Number:
		g, ok := got.(json.Number)
		if !ok {
			return false
		}
		if !strings.ContainsAny(e.String(), ".eE") {
			return e == g
		}
		return math.Abs(toFloat(e)-toFloat(g)) <= tolerance
	case []any:
		g, ok := got.([]any)
		if !ok || len(e) != len(g) {
			return false
		}
		for i := range e {
			if !same(e[i], g[i], tolerance) {
				return false
			}
		}
		return true
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(e) != len(g) {
			return false
		}
		for name := range e {
			if value, there := g[name]; !there || !same(e[name], value, tolerance) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(expected, got)
}

func decode(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func (w *scenario) check(s step, tolerance float64) error {
	got, err := w.run(s)
	expected, _ := s["expect"].(map[string]any)
	if expected["status"] != nil {
		var e *Error
		if !errors.As(err, &e) {
			return fmt.Errorf("%v was expected, not %v, %v", expected, got, err)
		}
		if e.Code.String() != expected["status"] || (expected["place"] != nil && e.Place != expected["place"]) {
			return fmt.Errorf("%v was expected, not %v, place %q: %v", expected, e.Code.String(), e.Place, err)
		}
		return nil
	}
	if err != nil || expected == nil {
		return err
	}
	text, err := json.Marshal(got)
	if err != nil {
		return err
	}
	var plain map[string]any
	if err := decode(text, &plain); err != nil {
		return err
	}
	if !same(expected, plain, tolerance) {
		return fmt.Errorf("%v was expected, not %s", expected, text)
	}
	return nil
}

func TestConformance(t *testing.T) {
	path, folder := os.Getenv("TESSERA_CONFORMANCE"), os.Getenv("TESSERA_CONFORMANCE_MODELS")
	if path == "" || folder == "" {
		t.Skip("TESSERA_CONFORMANCE and TESSERA_CONFORMANCE_MODELS do not say where the list and its models are")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Format    int
		Tolerance float64
		Scenarios []struct {
			Name  string
			What  string
			Steps []step
		}
	}
	if err := decode(text, &list); err != nil {
		t.Fatal(err)
	}
	if list.Format != 1 || len(list.Scenarios) == 0 {
		t.Fatalf("format %d with %d scenarios", list.Format, len(list.Scenarios))
	}
	for _, entry := range list.Scenarios {
		t.Run(entry.Name, func(t *testing.T) {
			w := &scenario{folder: folder, beside: filepath.Dir(path), runtimes: map[string]*Runtime{},
				models: map[string]*Model{}, engines: map[string]*Engine{}, queues: map[string]*Queue{},
				sessions: map[string]*Session{}, states: map[string][]byte{}, calls: map[string]int{}}
			defer w.end()
			for number, s := range entry.Steps {
				if err := w.check(s, list.Tolerance); err != nil {
					fmt.Printf("FAILED %s: step %d %s\n", entry.Name, number+1, s.text("do"))
					t.Fatalf("step %d (%s): %v", number+1, s.text("do"), err)
				}
			}
			fmt.Printf("ok %s\n", entry.Name)
		})
	}
}
