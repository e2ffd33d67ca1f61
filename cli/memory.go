package cli

import (
	"math"
	"os"
	"runtime/debug"
)

// tuneMemory lets garbage grow to four times what is in use, which saves a fifth of the processor time, as long as all of
// it stays well under the 300 MB that check may take (design.md). GOGC and GOMEMLIMIT of the user hold where they are set.
func tuneMemory() {
	const softLimit = 200 << 20
	if ownMemory() {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(softLimit)
	}
}

// memory ends once what tuneMemory began where the findings themselves, of about 1 KB each, come near its limit: all time
// would go into looking for garbage that is not there.
type memory struct{ eased bool }

func (m *memory) ease(findings int) {
	const many = 120_000
	if findings > many && !m.eased && ownMemory() {
		debug.SetGCPercent(50)
		debug.SetMemoryLimit(math.MaxInt64)
		m.eased = true
	}
}

func ownMemory() bool { return os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" }
