// The service under 100 clients, and clients that go away.

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	tessera "github.com/tessera-inference/tessera-go"
)

func start(t *testing.T) (*httptest.Server, *tessera.Engine) {
	t.Helper()
	path := os.Getenv("TESSERA_TEST_MODEL")
	if path == "" {
		t.Skip("TESSERA_TEST_MODEL does not name a model")
	}
	runtime, err := tessera.NewRuntime()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime.Close() })
	model, err := runtime.LoadFile(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := model.NewEngine(tessera.EngineCacheTokens(16 * 256)) // 100 clients take turns in it
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer((&service{engine}).handler())
	t.Cleanup(func() { server.Close(); engine.Close() })
	return server, engine
}

func post(ctx context.Context, server *httptest.Server, q question) (*http.Response, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/chat", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return server.Client().Do(request)
}

// ask gives the text of an answer and its last line.
func ask(server *httptest.Server, q question) (text string, last line, err error) {
	response, err := post(context.Background(), server, q)
	if err != nil {
		return "", last, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", last, fmt.Errorf("status %s", response.Status)
	}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		last = line{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return "", last, err
		}
		text += last.Text
	}
	return text, last, nil
}

func questionOf(i int) question {
	return question{Messages: []tessera.Message{{Role: "user", Content: fmt.Sprintf("question %d", i)}}, MaxTokens: 40,
		Temperature: 1, Seed: int64(i)}
}

func TestAHundredClientsGetWhatEachGetsAlone(t *testing.T) {
	server, engine := start(t)
	const clients = 100
	var alone, together [clients]string
	for i := range alone {
		text, _, err := ask(server, questionOf(i))
		if err != nil {
			t.Fatal(err)
		}
		alone[i] = text
	}
	var group sync.WaitGroup
	for i := range together {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			text, last, err := ask(server, questionOf(i))
			if err != nil || last.Error != "" || last.Finish == "" || last.Tokens == 0 {
				t.Error(i, last, err)
			}
			together[i] = text
		}(i)
	}
	group.Wait()
	if alone != together {
		t.Error("answers differ from those of clients that were alone")
	}
	metrics, err := engine.Metrics()
	if err != nil || metrics.Sessions != 0 || metrics.RequestsFinished != 2*clients {
		t.Fatalf("%+v, %v", metrics, err)
	}
}

func TestAClientThatGoesAwayEndsItsRequestAlone(t *testing.T) {
	server, engine := start(t)
	var group sync.WaitGroup
	for i := 0; i < 40; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			if i%2 == 0 { // stays
				if _, last, err := ask(server, questionOf(i)); err != nil || last.Error != "" {
					t.Error(i, last, err)
				}
				return
			}
			ctx, cancel := context.WithCancel(context.Background())
			q := questionOf(i)
			q.MaxTokens = -1
			response, err := post(ctx, server, q)
			if err != nil {
				t.Error(err)
				cancel()
				return
			}
			bufio.NewReader(response.Body).ReadString('\n')
			cancel()
			response.Body.Close()
		}(i)
	}
	group.Wait()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		metrics, err := engine.Metrics()
		if err != nil {
			t.Fatal(err)
		}
		if metrics.Sessions == 0 && metrics.RequestsRunning == 0 && metrics.RequestsQueued == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("requests of clients that went away are left: %+v", metrics)
		}
	}
}

func TestWhatIsWrongIsTheClientsToKnow(t *testing.T) {
	server, engine := start(t)
	for body, status := range map[string]int{
		"no JSON":          http.StatusBadRequest,
		`{"messages": []}`: http.StatusOK,
		`{"messages": [{"role": "user", "content": "a"}], "temperature": -1}`: http.StatusBadRequest,
	} {
		response, err := server.Client().Post(server.URL+"/chat", "application/json", bytes.NewBufferString(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s: %s", body, response.Status)
		}
	}
	response, err := server.Client().Get(server.URL + "/metrics")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	response.Body.Close()
	engine.Close()
	if _, _, err := ask(server, questionOf(0)); err == nil || err.Error() != "status 503 Service Unavailable" {
		t.Fatal(err)
	}
}
