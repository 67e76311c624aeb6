module github.com/tessera-inference/tessera-go

go 1.19
