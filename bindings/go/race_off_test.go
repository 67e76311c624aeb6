// Tells tests that the race detector is off.

//go:build !race

package tessera

const raceDetector = false
