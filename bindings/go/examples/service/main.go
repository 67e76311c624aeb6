// Command service answers conversations over HTTP with one engine for all clients.
//
//	service MODEL.gguf [ADDRESS]
//	curl -N localhost:8080/chat -d '{"messages": [{"role": "user", "content": "Hello!"}]}'
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	tessera "github.com/tessera-inference/tessera-go"
)

func run(path, address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	runtime, err := tessera.NewRuntime()
	if err != nil {
		return err
	}
	defer runtime.Close()
	model, err := runtime.LoadFile(ctx, path)
	if err != nil {
		return err
	}
	defer model.Close()
	info, err := model.Info()
	if err != nil {
		return err
	}
	// Room for 32 conversations of full length, or many more short ones; beyond it, requests take turns.
	engine, err := model.NewEngine(tessera.EngineCacheTokens(32*int64(info.ContextTokens)), tessera.EngineMaxRequests(256))
	if err != nil {
		return err
	}
	defer engine.Close()
	server := &http.Server{Addr: address, Handler: (&service{engine}).handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		stop() // a second signal ends it at once
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		server.Shutdown(end)
	}()
	log.Printf("listening on %s", address)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: service MODEL.gguf [ADDRESS]")
	}
	address := "localhost:8080"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	if err := run(os.Args[1], address); err != nil {
		log.Fatal(err)
	}
}
