// Command chat talks with a model: a line of yours, an answer, and so on. Interrupt ends an answer, end-of-file the talk.
//
//	chat MODEL.gguf
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	tessera "github.com/tessera-inference/tessera-go"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: chat MODEL.gguf")
	}
	runtime := must(tessera.NewRuntime())
	defer runtime.Close()
	model := must(runtime.LoadFile(context.Background(), os.Args[1]))
	defer model.Close()
	engine := must(model.NewEngine())
	defer engine.Close()
	session := must(engine.NewSession())
	defer session.Close()

	var talk []tessera.Message
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		talk = append(talk, tessera.Message{Role: "user", Content: lines.Text()})
		must(0, session.Rewind(0)) // a template writes whole conversations; what is known is found in the cache
		must(0, session.AppendChat(talk))
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		request := must(session.Generate(ctx, tessera.RequestMaxTokens(200)))
		answer := ""
		err := request.ForEach(func(c tessera.Chunk) bool {
			fmt.Print(c.Text)
			answer += c.Text
			return true
		})
		stop()
		fmt.Println()
		if err != nil && !errors.Is(err, context.Canceled) {
			log.Fatal(err)
		}
		talk = append(talk, tessera.Message{Role: "assistant", Content: answer})
	}
}
