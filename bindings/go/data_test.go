// What models, sessions and engines say and give: errors, metadata, plans, chat, saved sessions, metrics, settings.

package tessera

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestErrorsSayWhatWhereAndWhy(t *testing.T) {
	r := must[*Runtime](t)(NewRuntime())
	defer r.Close()
	_, err := r.LoadFile(context.Background(), "/no/such/file.gguf")
	var e *Error
	if !errors.As(err, &e) || e.Code != ErrNotFound || !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if errors.Is(err, ErrBusy) || !strings.Contains(e.Place, "/no/such/file.gguf") || !strings.Contains(err.Error(), e.Message) {
		t.Fatal(err, e.Place)
	}
	_, err = NewRuntime(Setting[RuntimeOption]("runtime.no_such", 1))
	if !errors.As(err, &e) || e.Code != ErrInvalidArgument || !strings.Contains(e.Place, "runtime.no_such") {
		t.Fatal(err)
	}
	if _, err = NewRuntime(Setting[RuntimeOption]("runtime.threads", struct{}{})); !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
	if ErrBusy.String() != "TSR_STATUS_BUSY" || Code(999).String() != "unknown status" {
		t.Fatal(ErrBusy.String(), Code(999).String())
	}
}

func TestAModelSaysWhatItIs(t *testing.T) {
	r, m := newModel(t)
	info := must[ModelInfo](t)(m.Info())
	if info.VocabularySize != 300 || info.ContextTokens != 256 || info.Layers != 2 || info.Device != "cpu" ||
		info.Hash == [16]byte{} {
		t.Fatalf("%+v", info)
	}
	keys := must[[]string](t)(m.MetadataKeys())
	for _, key := range keys {
		kind, count, err := m.MetadataKind(key)
		ok(t, err)
		n := 0
		switch kind {
		case MetadataInt:
			n = len(must[[]int64](t)(m.MetadataInts(key)))
		case MetadataFloat:
			n = len(must[[]float64](t)(m.MetadataFloats(key)))
		case MetadataString:
			n = len(must[[]string](t)(m.MetadataStrings(key)))
		}
		if n != count {
			t.Errorf("%s: %d of %d elements", key, n, count)
		}
	}
	if name := must[[]string](t)(m.MetadataStrings("general.architecture")); name[0] != "llama" {
		t.Fatal(name)
	}
	if _, err := m.MetadataInts("general.architecture"); err == nil {
		t.Fatal("a string is no integer")
	}
	text := strings.Repeat("hello, wörld ", 500)
	tokens := must[[]int32](t)(m.Tokenize(text, PlainText))
	if back := must[string](t)(m.Detokenize(tokens, PlainText)); back != text {
		t.Fatal(len(back))
	}
	if _, err := m.Tokenize("a\xff", PlainText); !errors.Is(err, ErrInvalidUTF8) {
		t.Fatal(err)
	}
	file := must[*os.File](t)(os.Open(tinyPath(t)))
	defer file.Close()
	data := must[[]byte](t)(os.ReadFile(tinyPath(t)))
	plan := must[Plan](t)(r.PlanFile(tinyPath(t), EngineCacheTokens(1024), PlanHostBytes(1<<30), ModelDevice("cpu")))
	for _, other := range []Plan{must[Plan](t)(r.PlanOpenFile(file, 0, 0, EngineCacheTokens(1024), PlanHostBytes(1<<30))),
		must[Plan](t)(r.PlanBytes(data, EngineCacheTokens(1024), PlanHostBytes(1<<30)))} {
		if other != plan {
			t.Fatalf("%+v, %+v", other, plan)
		}
	}
	if !plan.Fits || plan.CacheTokens != 1024 || plan.HostWeightBytes != info.WeightBytes {
		t.Fatalf("%+v", plan)
	}
}

func TestAConversationGoesThroughTheTemplate(t *testing.T) {
	e := newEngine(t)
	_, m := newModel(t)
	talk := []Message{{Role: "user", Content: "Hi <b>&\"</b>"}}
	expected := "<|im_start|>user\nHi <b>&\"</b><|im_end|>\n<|im_start|>assistant\n"
	if text := must[string](t)(m.ApplyChatTemplate(talk)); text != expected {
		t.Fatalf("%q", text)
	}
	text := must[string](t)(m.ApplyChatTemplate(talk, ChatAddGenerationPrompt(false), ChatTemplate("{{ messages[0].role }}")))
	if text != "user" {
		t.Fatalf("%q", text)
	}
	if _, err := m.ApplyChatTemplate([]Message{{Role: "user", Content: "\xff"}}); !errors.Is(err, ErrInvalidUTF8) {
		t.Fatal(err)
	}
	s := must[*Session](t)(e.NewSession())
	ok(t, s.AppendChat(talk))
	tokens := must[[]int32](t)(m.Tokenize(expected, ParseSpecial))
	if got := must[[]int32](t)(s.Tokens()); !reflect.DeepEqual(got, tokens) {
		t.Fatal(got, tokens)
	}
}

func TestSessionsForkRewindParkSaveAndRestore(t *testing.T) {
	e := newEngine(t)
	answer := func(s *Session) string {
		return must[Answer](t)(must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(10), RequestIgnoreEnd(true))).Collect()).Text
	}
	s := newSession(t, e)
	start := must[int](t)(s.TokenCount())
	first := answer(s)
	fork := must[*Session](t)(s.Fork())
	state := must[[]byte](t)(s.Save())
	info := must[StateInfo](t)(ProbeState(state))
	if !info.Complete || info.SizeBytes != uint64(len(state)) || info.TokenCount != start+10 {
		t.Fatalf("%+v", info)
	}
	if info = must[StateInfo](t)(ProbeState(state[:StateHeaderBytes])); info.Complete {
		t.Fatalf("%+v", info)
	}
	small := must[[]byte](t)(s.Save(StateCache(false)))
	if len(small) >= len(state) {
		t.Fatal(len(small), len(state))
	}
	restored := must[*Session](t)(e.Restore(state))
	recomputed := must[*Session](t)(e.Restore(small, StateCache(false), SessionLogits(true)))
	second := answer(s)
	for name, other := range map[string]*Session{"fork": fork, "restored": restored, "recomputed": recomputed} {
		if got := answer(other); got != second {
			t.Errorf("%s: %q, not %q", name, got, second)
		}
		ok(t, other.Close())
	}
	must[[]float32](t)(recomputedLogits(t, e, small))
	ok(t, s.Rewind(start))
	ok(t, s.Park())
	if again := answer(s); again != first {
		t.Fatalf("%q, not %q", again, first)
	}
	if err := s.Rewind(10000); !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
	if err := s.Rewind(-1); !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
	state[len(state)/2] ^= 1
	if _, err := e.Restore(state); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

func recomputedLogits(t *testing.T, e *Engine, state []byte) ([]float32, error) {
	s := must[*Session](t)(e.Restore(state, StateCache(false), SessionLogits(true)))
	defer s.Close()
	must[Answer](t)(must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(1))).Collect())
	return s.Logits()
}

func TestABusySessionSaysSo(t *testing.T) {
	e := newEngine(t, EngineStepped(true))
	s := newSession(t, e)
	r := must[*Request](t)(s.Generate(context.Background()))
	defer r.Close()
	if _, err := s.Generate(context.Background()); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	if err := s.AppendText("more", PlainText); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	if _, err := s.Save(); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
}

func TestMetricsCount(t *testing.T) {
	e := newEngine(t)
	s := newSession(t, e)
	must[Answer](t)(must[*Request](t)(s.Generate(context.Background(), RequestMaxTokens(5), RequestIgnoreEnd(true))).Collect())
	m := must[Metrics](t)(e.Metrics())
	if m.GeneratedTokens != 5 || m.RequestsFinished != 1 || m.Sessions != 1 || m.PromptTokens == 0 || m.Threads == 0 {
		t.Fatalf("%+v", m)
	}
}

func TestOptionsAreTheSchemas(t *testing.T) {
	page := filepath.Join("..", "..", "docs", "settings.md")
	if _, err := os.Stat(page); err != nil {
		t.Skip("the library's page of settings is not beside this package")
	}
	written := filepath.Join(t.TempDir(), "options.go")
	if text, err := exec.Command("go", "run", "./internal/genoptions", page, written).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if !bytes.Equal(must[[]byte](t)(os.ReadFile(written)), must[[]byte](t)(os.ReadFile("options_gen.go"))) {
		t.Error("options_gen.go is not what docs/settings.md gives: run go generate")
	}
	// Every callback has its constructor too.
	text := ""
	for _, file := range []string{"options_gen.go", "callbacks.go"} {
		text += string(must[[]byte](t)(os.ReadFile(file)))
	}
	for _, key := range settingKeys {
		if !strings.Contains(text, "setting{\""+key+"\"") {
			t.Errorf("%s has no constructor", key)
		}
	}
}
