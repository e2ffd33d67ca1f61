package up

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// BenchmarkUp is the time until `ringfence up` is ready and the memory of all its processes then, beside a control plane
// alone, started in the same run. RSS counts the pages that processes share once for each; PSS counts them once.
func BenchmarkUp(b *testing.B) {
	var whole, alone usage
	rounds := 0
	for b.Loop() {
		began := time.Now()
		p := start(b, shortDir(b))
		whole.add(time.Since(began), p.cmd.Process.Pid)
		_ = p.cmd.Process.Signal(os.Interrupt)
		_ = p.ended(b, 10*time.Second)

		began = time.Now()
		cmd := exec.Command(bin(b, "devcluster"), "up", "--dir", shortDir(b))
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			b.Fatal(err)
		}
		_, _ = out.Read(make([]byte, 1)) // it writes once it is ready
		alone.add(time.Since(began), cmd.Process.Pid)
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		rounds++
	}
	n := float64(rounds)
	b.ReportMetric(whole.seconds/n, "ready-s")
	b.ReportMetric(alone.seconds/n, "control-plane-ready-s")
	b.ReportMetric(whole.rss/n, "rss-MiB")
	b.ReportMetric(whole.pss/n, "pss-MiB")
	b.ReportMetric(alone.rss/n, "control-plane-rss-MiB")
	b.ReportMetric(whole.pss/alone.pss, "pss-ratio")
	b.ReportMetric(0, "ns/op")
}

// usage sums what starts took.
type usage struct{ seconds, rss, pss float64 }

func (u *usage) add(took time.Duration, pid int) {
	u.seconds += took.Seconds()
	for _, p := range append(descendants(pid), pid) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		u.rss += mebibytes(text, "Rss")
		u.pss += mebibytes(text, "Pss")
	}
}

// mebibytes is a field of proc(5) smaps_rollup, which counts in kB of 1,024 bytes.
func mebibytes(text []byte, field string) float64 {
	m := regexp.MustCompile(`(?m)^` + field + `:\s+([0-9]+) kB`).FindSubmatch(text)
	if m == nil {
		return 0
	}
	kb, _ := strconv.ParseFloat(string(bytes.TrimSpace(m[1])), 64)
	return kb / 1024
}
