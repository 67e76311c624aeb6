// The service's handler: a conversation in, an answer out as it is made. Must not know of flags and ports.

package main

import (
	"encoding/json"
	"errors"
	"log"
	"net/http"

	tessera "github.com/tessera-inference/tessera-go"
)

// mostBodyBytes is the longest conversation that is read.
const mostBodyBytes = 1 << 20

// question is the body of POST /chat.
type question struct {
	Messages    []tessera.Message `json:"messages"`
	MaxTokens   int64             `json:"max_tokens"`
	Temperature float64           `json:"temperature"`
	Seed        int64             `json:"seed"`
}

// line is one line of the answer: text, and in the last one how it ended.
type line struct {
	Text   string `json:"text,omitempty"`
	Finish string `json:"finish,omitempty"`
	Tokens int    `json:"tokens,omitempty"`
	Error  string `json:"error,omitempty"`
}

type service struct{ engine *tessera.Engine }

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/chat", s.chat)
	mux.HandleFunc("/metrics", s.metrics)
	return mux
}

// statusOf says in HTTP's terms what an error means for the client.
func statusOf(err error) int {
	switch {
	case errors.Is(err, tessera.ErrLimitExceeded), errors.Is(err, tessera.ErrClosed):
		return http.StatusServiceUnavailable
	case errors.Is(err, tessera.ErrInvalidArgument), errors.Is(err, tessera.ErrInvalidUTF8):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// chat answers in JSON lines. The request ends with the client's connection: its context is the request's.
func (s *service) chat(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST a conversation", http.StatusMethodNotAllowed)
		return
	}
	q := question{MaxTokens: 256}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBodyBytes)).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request, session, err := s.submit(r, q)
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	defer session.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	flusher, _ := w.(http.Flusher)
	// A client that reads slowly makes Encode wait, and its request alone pauses.
	err = request.ForEach(func(c tessera.Chunk) bool {
		if c.Text == "" {
			return true
		}
		failed := lines.Encode(line{Text: c.Text})
		if flusher != nil {
			flusher.Flush()
		}
		return failed == nil
	})
	result := request.Result()
	last := line{Finish: result.Reason.String(), Tokens: result.GeneratedTokens}
	if err != nil {
		last.Error = err.Error()
	}
	if lines.Encode(last) != nil {
		log.Printf("%s went away after %d tokens", r.RemoteAddr, result.GeneratedTokens)
	}
}

func (s *service) submit(r *http.Request, q question) (*tessera.Request, *tessera.Session, error) {
	session, err := s.engine.NewSession()
	if err != nil {
		return nil, nil, err
	}
	if err = session.AppendChat(q.Messages); err == nil {
		var request *tessera.Request
		request, err = session.Generate(r.Context(), tessera.RequestMaxTokens(q.MaxTokens),
			tessera.SamplingTemperature(q.Temperature), tessera.SamplingSeed(q.Seed))
		if err == nil {
			return request, session, nil
		}
	}
	session.Close()
	return nil, nil, err
}

func (s *service) metrics(w http.ResponseWriter, _ *http.Request) {
	metrics, err := s.engine.Metrics()
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(metrics)
}
