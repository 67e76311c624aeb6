// Tells tests that the race detector is on, which keeps memory of its own.

//go:build race

package tessera

const raceDetector = true
