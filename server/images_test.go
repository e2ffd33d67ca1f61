package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
)

// BenchmarkImageFacts reads a million digests of ten files, as a start does: the bar is ready in 10 s.
func BenchmarkImageFacts(b *testing.B) {
	dir, now := b.TempDir(), time.Now()
	const files, each = 10, 100_000
	for f := range files {
		all := make([]image.Admitted, each)
		for i := range all {
			sum := sha256.Sum256(fmt.Appendf(nil, "%d-%d", f, i))
			all[i] = image.Admitted{Digest: "sha256:" + hex.EncodeToString(sum[:]), ScannedUntil: now.Add(time.Duration(i) * time.Second), CleanUntil: image.Never(), Note: fmt.Sprintf("CVE-2026-%d of severity 4", i%1000)}
		}
		text, err := image.Admission(all)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("facts-%d.json", f)), text, 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		im := &images{dir: dir, log: slog.New(slog.DiscardHandler)}
		if err := im.read(); err != nil || im.index.Load().Len() != files*each {
			b.Fatalf("%d digests, %v", im.index.Load().Len(), err)
		}
	}
}
